#include "dist/mpi/mpi_poller.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "core/base/error.h"
#include "core/report/activity.h"
#include "dist/flight_recorder.h"
#include "dist/mpi/mpi_check.h"

namespace kiln {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kAnswerEvery{20};
constexpr milliseconds kPatience{1500};  // for answers of the other ranks
constexpr milliseconds kSpokesmanLead{
    2000};  // for so long the other ranks print nothing; then they print the error too

// Between polls that find nothing: a few at once, for messages that are already here, then sleeps
// of an eighth of the time waited so far. It never yields: where ranks outnumber cores, the
// scheduler runs a thread that yielded after all that compute, and a thread that slept first.
class BackOff {
 public:
  void pause() {
    if (++num_polls_ <= kPollsAtOnce) return;
    const auto waited = std::chrono::steady_clock::now() - start_;
    std::this_thread::sleep_for(
        std::clamp<std::chrono::nanoseconds>(waited / 8, kShortest, kLongest));
  }

 private:
  static constexpr int kPollsAtOnce = 16;
  static constexpr microseconds kShortest{5};
  static constexpr microseconds kLongest{200};
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int num_polls_ = 0;
};

template <std::size_t kSize>
void copy_text(const std::string& text, char (&to)[kSize]) {
  const std::size_t length = std::min(text.size(), kSize - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

// The flight record of a rank that does not answer says what it did last.
std::string explain_silence(int rank) {
  const std::string record = explain_from_record(rank);
  return record.empty() ? fmt::format("rank {} does not answer (stopped, dead or cut off)", rank)
                        : fmt::format("{}; it does not answer", record);
}

std::string explain(int rank, const RankStatus& status, std::int64_t most_called) {
  const std::int64_t behind = most_called - status.collectives_called;
  return fmt::format("rank {}{}{}{}", rank,
                     status.activity[0] != '\0' ? " is in " : " has not called it", status.activity,
                     behind > 0 ? fmt::format(", {} collectives behind", behind) : "");
}

}  // namespace

MpiPoller::MpiPoller(MPI_Comm comm, milliseconds timeout) : timeout_(timeout), inquiry_(comm) {
  KILN_MPI(MPI_Comm_rank(comm, &rank_));
}

void MpiPoller::begin(const Operation& operation) {
  operation_ = &operation;
  started_ = Clock::now();
}

void MpiPoller::end() { operation_ = nullptr; }

void MpiPoller::note_called(const Operation& operation) {
  if (operation.is_collective()) collectives_called_ = operation.sequence;
}

void MpiPoller::cancel() { is_cancelled_ = true; }

void MpiPoller::answer_inquiries() { inquiry_.answer(own_status()); }

bool MpiPoller::are_done(std::vector<MPI_Request>& requests) {
  int all_done = 0;
  KILN_MPI(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all_done,
                       MPI_STATUSES_IGNORE));
  return all_done != 0;
}

void MpiPoller::wait_all(std::vector<MPI_Request>& requests, const std::vector<int>& peers) {
  BackOff back_off;
  auto next_answer = Clock::now() + kAnswerEvery;
  while (!are_done(requests)) {
    back_off.pause();
    if (is_cancelled_) throw communication_error("{} given up", operation_->describe());
    const auto now = Clock::now();
    if (now < next_answer) continue;
    if (now - started_ > timeout_) give_up(requests, peers);
    answer_inquiries();
    next_answer = now + kAnswerEvery;
  }
}

RankStatus MpiPoller::own_status() const {
  RankStatus status;
  status.collectives_called = collectives_called_;
  if (operation_ != nullptr) {
    copy_text(operation_->describe(), status.operation);
    status.waiting_s = std::chrono::duration<double>(Clock::now() - started_).count();
  }
  copy_text(describe_activity(), status.activity);
  return status;
}

void MpiPoller::give_up(std::vector<MPI_Request>& requests, const std::vector<int>& peers) {
  std::vector<int> late;  // an exchange waits for these; a collective for whoever has not called it
  for (std::size_t i = 0; i < peers.size(); ++i) {
    int is_done = 0;
    KILN_MPI(MPI_Test(&requests[i], &is_done, MPI_STATUS_IGNORE));
    if (!is_done && std::ranges::find(late, peers[i]) == late.end()) late.push_back(peers[i]);
  }
  const auto statuses = inquiry_.ask(own_status(), kPatience);
  const double timeout_s = std::chrono::duration<double>(timeout_).count();
  std::vector<std::string> causes;
  int spokesman = rank_;
  for (int rank = 0; rank < static_cast<int>(statuses.size()); ++rank) {
    const auto& status = statuses[rank];
    const bool is_late = peers.empty()
                             ? !status || status->collectives_called < operation_->sequence
                             : std::ranges::find(late, rank) != late.end();
    if (is_late) {
      causes.push_back(status ? explain(rank, *status, collectives_called_)
                              : explain_silence(rank));
    }
    // Ranks that waited as long as this one find the same reason. The first of them reports it.
    if (status && !is_late && status->waiting_s > timeout_s) spokesman = std::min(spokesman, rank);
  }
  if (causes.empty())
    causes.push_back("all ranks have called it, but the network does not deliver");
  if (spokesman != rank_) std::this_thread::sleep_for(std::min(kSpokesmanLead, timeout_));
  throw communication_error("rank {} waited {:.0f} s in {}: {}", rank_, timeout_s,
                            operation_->describe(), fmt::join(causes, "; "));
}

}  // namespace kiln
