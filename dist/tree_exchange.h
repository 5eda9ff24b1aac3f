#pragma once

#include <vector>

#include "dist/gradient_exchange.h"
#include "dist/tree_plan.h"

namespace kiln {

/// Sums along the fixed binary tree over micro-batches (TreeNode): every addition has the same two
/// operands on any number of ranks, so the sum has the same bits.
///
/// Each micro-gradient is computed into zeroed memory and joins the rank's partial sums like a
/// binary counter. Across ranks, bucket by bucket: every rank sends slice k of its partial sums to
/// rank k, which adds them along the tree; the sums are then gathered, or kept when sharded.
///
/// Memory: (1 + log2(M / W)) fp32 copies of the gradients beside flat memory, and until finish()
/// what the rank receives: one slice of every partial sum of the other ranks.
class TreeExchange final : public BucketExchange {
 public:
  TreeExchange(FlatParameters& flat, Communicator& communicator, const ExchangeOptions& options);

 private:
  struct Bucket {
    at::Tensor gradients;          // flat memory, in the model's type
    TreeCounter counter;           // of the rank's own micro-batches
    std::vector<at::Tensor> sums;  // fp32, like the bucket; the first counter.stack().size() count
  };

  void start_step() override;
  void take(std::size_t index, std::int64_t micro_batch) override;
  void send(std::size_t index) override;
  /// The first partial sum's memory, into which the slices of the whole sum are gathered.
  at::Tensor sum(std::size_t index) override { return buckets_[index].sums.front(); }
  void finish_bucket(std::size_t) override {}

  at::Tensor& buffer(Bucket& bucket, std::size_t depth);
  Range share(int rank) const;

  std::vector<Bucket> buckets_;
};

}  // namespace kiln
