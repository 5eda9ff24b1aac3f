#include "dist/mpi/mpi_collectives.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/work.h"
#include "dist/host_sum.h"
#include "dist/mpi/mpi_check.h"

namespace kiln {
namespace {

constexpr int kTag = 1;
constexpr std::int64_t kLargestMessage = 1 << 30;  // bytes; MPI counts in int

std::byte* bytes(const at::Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }

std::int64_t element_bytes(const at::Tensor& tensor) {
  return static_cast<std::int64_t>(tensor.element_size());
}

}  // namespace

MpiCollectives::MpiCollectives(MPI_Comm comm, MpiPoller& poller, int max_direct_ranks)
    : comm_(comm), poller_(poller) {
  KILN_MPI(MPI_Comm_rank(comm_, &rank_));
  KILN_MPI(MPI_Comm_size(comm_, &size_));
  is_direct_ = size_ <= max_direct_ranks;
}

void MpiCollectives::run(const Operation& operation) {
  MPI_Request request = MPI_REQUEST_NULL;
  switch (operation.kind) {
    case Operation::Kind::kTask:
      return operation.task();
    case Operation::Kind::kAllReduce:
      return all_reduce(operation.input);
    case Operation::Kind::kReduceScatter:
      return reduce_scatter(operation.input, operation.output);
    case Operation::Kind::kAllGather:
      return all_gather(operation.input, operation.output);
    case Operation::Kind::kExchange:
      return exchange(operation.transfers);
    case Operation::Kind::kBroadcast:
      KILN_MPI(MPI_Ibcast(bytes(operation.input), mpi_count(operation.input.nbytes()), MPI_BYTE,
                          operation.root, comm_, &request));
      return wait_for(request);
    case Operation::Kind::kBarrier:
      KILN_MPI(MPI_Ibarrier(comm_, &request));
      return wait_for(request);
  }
}

void MpiCollectives::all_reduce(const at::Tensor& tensor) {
  if (is_direct_) return all_reduce_directly(tensor);
  const auto type = tensor.scalar_type();
  MPI_Request request = MPI_REQUEST_NULL;
  KILN_MPI(MPI_Iallreduce(MPI_IN_PLACE, bytes(tensor), mpi_count(tensor.numel()), mpi_type(type),
                          mpi_sum(type), comm_, &request));
  wait_for(request);
}

void MpiCollectives::all_reduce_directly(const at::Tensor& tensor) {
  const Range own = share_of(tensor.numel(), rank_, size_);
  add_slices(tensor, bytes(tensor) + own.begin * element_bytes(tensor));
  gather_slices(tensor);
}

void MpiCollectives::reduce_scatter(const at::Tensor& input, const at::Tensor& output) {
  if (is_direct_) return add_slices(input, bytes(output));
  const auto type = input.scalar_type();
  std::byte* sum = scratch(output.nbytes());  // MPI forbids that the output is part of the input
  MPI_Request request = MPI_REQUEST_NULL;
  KILN_MPI(MPI_Ireduce_scatter_block(bytes(input), sum, mpi_count(output.numel()), mpi_type(type),
                                     mpi_sum(type), comm_, &request));
  wait_for(request);
  std::memcpy(bytes(output), sum, output.nbytes());
}

void MpiCollectives::all_gather(const at::Tensor& input, const at::Tensor& output) {
  std::byte* own = bytes(output) + rank_ * input.nbytes();
  if (own != bytes(input)) std::memcpy(own, bytes(input), input.nbytes());
  gather_slices(output);
}

// sum = the rank's own slice of input, added over all ranks in their order.
void MpiCollectives::add_slices(const at::Tensor& input, std::byte* sum) {
  const std::int64_t width = element_bytes(input);
  const Range own = share_of(input.numel(), rank_, size_);
  std::byte* received = scratch((size_ - 1) * own.size() * width);
  std::vector<const void*> parts;
  for (int from = 0; from < size_; ++from) {
    if (from == rank_) {
      parts.push_back(bytes(input) + own.begin * width);
      continue;
    }
    start_receive(received, own.size() * width, from);
    parts.push_back(received);
    received += own.size() * width;
  }
  for (int distance = 1; distance < size_; ++distance) {
    const int to = (rank_ + distance) % size_;
    const Range slice = share_of(input.numel(), to, size_);
    start_send(bytes(input) + slice.begin * width, slice.size() * width, to);
  }
  wait_for_peers();
  add_all(sum, parts, own.size(), input.scalar_type());
}

// Every rank's own slice of tensor to all ranks.
void MpiCollectives::gather_slices(const at::Tensor& tensor) {
  const std::int64_t width = element_bytes(tensor);
  const Range own = share_of(tensor.numel(), rank_, size_);
  for (int distance = 1; distance < size_; ++distance) {
    const int from = (rank_ + size_ - distance) % size_;
    const int to = (rank_ + distance) % size_;
    const Range slice = share_of(tensor.numel(), from, size_);
    start_receive(bytes(tensor) + slice.begin * width, slice.size() * width, from);
    start_send(bytes(tensor) + own.begin * width, own.size() * width, to);
  }
  wait_for_peers();
}

void MpiCollectives::exchange(const std::vector<Transfer>& transfers) {
  for (const auto& transfer : transfers) {
    const auto num_bytes = static_cast<std::int64_t>(transfer.tensor.nbytes());
    if (transfer.direction == Transfer::Direction::kReceive) {
      start_receive(bytes(transfer.tensor), num_bytes, transfer.peer);
    } else {
      start_send(bytes(transfer.tensor), num_bytes, transfer.peer);
    }
  }
  wait_for_peers();
}

void MpiCollectives::start_send(const std::byte* data, std::int64_t num_bytes, int to) {
  for (std::int64_t begin = 0; begin < num_bytes; begin += kLargestMessage) {
    const int count = mpi_count(std::min(kLargestMessage, num_bytes - begin));
    KILN_MPI(MPI_Isend(data + begin, count, MPI_BYTE, to, kTag, comm_, &requests_.emplace_back()));
    peers_.push_back(to);
  }
}

void MpiCollectives::start_receive(std::byte* data, std::int64_t num_bytes, int from) {
  for (std::int64_t begin = 0; begin < num_bytes; begin += kLargestMessage) {
    const int count = mpi_count(std::min(kLargestMessage, num_bytes - begin));
    KILN_MPI(
        MPI_Irecv(data + begin, count, MPI_BYTE, from, kTag, comm_, &requests_.emplace_back()));
    peers_.push_back(from);
  }
}

void MpiCollectives::wait_for_peers() {
  poller_.wait_all(requests_, peers_);
  requests_.clear();
  peers_.clear();
}

void MpiCollectives::wait_for(MPI_Request request) {
  std::vector<MPI_Request> requests{request};
  poller_.wait_all(requests);
}

std::byte* MpiCollectives::scratch(std::int64_t num_bytes) {
  if (num_bytes > scratch_bytes_) {
    scratch_.reset(new std::byte[num_bytes]);  // not value-initialised
    scratch_bytes_ = num_bytes;
  }
  return scratch_.get();
}

}  // namespace kiln
