#pragma once

#include <vector>

#include "dist/gradient_exchange.h"

namespace kiln {

/// Gradients of the rank's micro-batches add up where autograd puts them (fp32) or in an fp32 copy
/// (bf16 models with several micro-batches a rank); each bucket is then all-reduced, or
/// reduce-scattered when sharded. Equal for all numbers of ranks up to rounding.
class FastExchange final : public BucketExchange {
 public:
  FastExchange(FlatParameters& flat, Communicator& communicator, const ExchangeOptions& options);

 private:
  struct Bucket {
    at::Tensor gradients;  // flat memory, in the model's type
    at::Tensor sum;        // fp32; of fp32 models the same memory
    at::Tensor
        wire;  // what is sent; it shares memory with sum or gradients where the types are equal
    bool is_empty = true;  // `sum` holds no micro-batch of this step yet
  };

  void start_step() override;
  void take(std::size_t index, std::int64_t micro_batch) override;
  void send(std::size_t index) override;
  at::Tensor sum(std::size_t index) override { return buckets_[index].sum; }
  void finish_bucket(std::size_t index) override;

  std::vector<Bucket> buckets_;
};

}  // namespace kiln
