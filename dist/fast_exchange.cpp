#include "dist/fast_exchange.h"

#include <utility>

#include "core/torch.h"

namespace kiln {

FastExchange::FastExchange(FlatParameters& flat, Communicator& communicator,
                           const ExchangeOptions& options)
    : BucketExchange(flat, communicator, options) {
  for (std::size_t i = 0; i < flat_.buckets().size(); ++i) {
    Bucket bucket;
    bucket.gradients = flat_.bucket_gradients(i);
    bucket.sum = bucket.gradients.to(at::kFloat);
    bucket.wire = bucket.sum.to(options_.reduce_dtype);
    buckets_.push_back(std::move(bucket));
  }
}

void FastExchange::start_step() {
  flat_.zero_gradients();
  for (auto& bucket : buckets_) bucket.is_empty = true;
}

void FastExchange::take(std::size_t index, std::int64_t) {
  Bucket& bucket = buckets_[index];
  if (bucket.sum.is_same(bucket.gradients)) return;
  if (std::exchange(bucket.is_empty, false)) {
    bucket.sum.copy_(bucket.gradients);
  } else {
    bucket.sum.add_(bucket.gradients);
  }
  if (!is_last()) bucket.gradients.zero_();  // otherwise start_step() zeroes them all at once
}

void FastExchange::send(std::size_t index) {
  Bucket& bucket = buckets_[index];
  const bool is_separate = !bucket.sum.is_same(bucket.gradients);
  if (is_separate && bucket.is_empty) bucket.sum.zero_();  // a rank without micro-batches
  if (!bucket.wire.is_same(bucket.sum)) bucket.wire.copy_(bucket.sum);
  if (options_.is_sharded) {
    const at::Tensor own = part(bucket.wire, communicator_.rank());
    add_work(communicator_.reduce_scatter(bucket.wire, own));
  } else {
    add_work(communicator_.all_reduce(bucket.wire));
  }
}

void FastExchange::finish_bucket(std::size_t index) {
  Bucket& bucket = buckets_[index];
  if (!bucket.wire.is_same(bucket.sum)) bucket.sum.copy_(bucket.wire);
}

}  // namespace kiln
