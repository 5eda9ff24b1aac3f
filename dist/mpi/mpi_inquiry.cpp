#include "dist/mpi/mpi_inquiry.h"

#include <thread>

#include "dist/mpi/mpi_check.h"

namespace kiln {
namespace {

constexpr int kQuestion = 1;
constexpr int kAnswer = 2;

}  // namespace

Inquiry::Inquiry(MPI_Comm parent) : comm_(duplicate(parent)) {
  KILN_MPI(MPI_Comm_rank(comm_, &rank_));
  KILN_MPI(MPI_Comm_size(comm_, &size_));
}

// A status is small enough to be sent eagerly: the request completes without the receiver, and may
// be freed at once once the bytes are buffered.
void Inquiry::send(const RankStatus& status, int to, int tag) {
  MPI_Request request = MPI_REQUEST_NULL;
  auto* kept =
      new RankStatus(status);  // lives longer than the request, even where the peer never receives
  KILN_MPI(MPI_Isend(kept, sizeof(*kept), MPI_BYTE, to, tag, comm_, &request));
  int is_done = 0;
  KILN_MPI(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE));
  if (is_done) {
    delete kept;
  } else {
    KILN_MPI(MPI_Request_free(&request));
  }
}

std::optional<RankStatus> Inquiry::receive(int tag, int& from) {
  int is_there = 0;
  MPI_Status envelope;
  KILN_MPI(MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &is_there, &envelope));
  if (!is_there) return std::nullopt;
  RankStatus status;
  from = envelope.MPI_SOURCE;
  KILN_MPI(MPI_Recv(&status, sizeof(status), MPI_BYTE, from, tag, comm_, MPI_STATUS_IGNORE));
  return status;
}

void Inquiry::answer(const RankStatus& own) {
  int from = 0;
  while (receive(kQuestion, from)) send(own, from, kAnswer);
}

std::vector<std::optional<RankStatus>> Inquiry::ask(const RankStatus& own,
                                                    std::chrono::milliseconds patience) {
  std::vector<std::optional<RankStatus>> statuses(size_);
  statuses[rank_] = own;
  for (int to = 0; to < size_; ++to) {
    if (to != rank_) send(own, to, kQuestion);
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  int num_missing = size_ - 1;
  while (num_missing > 0 && std::chrono::steady_clock::now() < deadline) {
    answer(own);
    int from = 0;
    if (const auto status = receive(kAnswer, from)) {
      if (!statuses[from]) --num_missing;
      statuses[from] = status;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return statuses;
}

}  // namespace kiln
