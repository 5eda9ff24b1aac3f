#pragma once

#include <mpi.h>

#include <memory>
#include <vector>

#include "dist/mpi/mpi_poller.h"
#include "dist/operation.h"

namespace kiln {

/// Carries out operations on host tensors one after another. Used by the communication thread
/// alone.
///
/// Up to max_direct_ranks, sums are direct: every rank sends slice k to rank k, which adds them in
/// the order of ranks (bf16 in fp32, rounded once) and, for all_reduce, sends the sum to all. That
/// moves the bytes of a ring in two rounds instead of 2 (W - 1): ranks that share a core take turns
/// once a round, so fewer rounds save time. More ranks use MPI's own non-blocking collectives.
class MpiCollectives {
 public:
  MpiCollectives(MPI_Comm comm, MpiPoller& poller, int max_direct_ranks);
  void run(const Operation& operation);

 private:
  void all_reduce(const at::Tensor& tensor);
  void all_reduce_directly(const at::Tensor& tensor);
  void reduce_scatter(const at::Tensor& input, const at::Tensor& output);
  void all_gather(const at::Tensor& input, const at::Tensor& output);
  void exchange(const std::vector<Transfer>& transfers);

  void add_slices(const at::Tensor& input, std::byte* sum);
  void gather_slices(const at::Tensor& tensor);
  void start_send(const std::byte* data, std::int64_t num_bytes, int to);
  void start_receive(std::byte* data, std::int64_t num_bytes, int from);
  void wait_for_peers();
  void wait_for(MPI_Request request);
  std::byte* scratch(std::int64_t num_bytes);

  const MPI_Comm comm_;
  MpiPoller& poller_;
  int rank_ = 0;
  int size_ = 1;
  bool is_direct_ = true;
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_;  // of requests_
  std::unique_ptr<std::byte[]> scratch_;
  std::int64_t scratch_bytes_ = 0;
};

}  // namespace kiln
