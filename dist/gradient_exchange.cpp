#include "dist/gradient_exchange.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "dist/fast_exchange.h"
#include "dist/tree_exchange.h"

namespace kiln {

std::unique_ptr<GradientExchange> make_gradient_exchange(FlatParameters& flat,
                                                         Communicator& communicator,
                                                         const ExchangeOptions& options) {
  if (options.is_reproducible) return std::make_unique<TreeExchange>(flat, communicator, options);
  return std::make_unique<FastExchange>(flat, communicator, options);
}

BucketExchange::BucketExchange(FlatParameters& flat, Communicator& communicator,
                               const ExchangeOptions& options)
    : flat_(flat),
      communicator_(communicator),
      options_(options),
      hooks_(flat, [this](std::size_t entry) { note_gradient(entry); }) {
  for (std::size_t i = 0; i < flat_.buckets().size(); ++i) {
    const auto& bucket = flat_.buckets()[i];
    is_missing_.emplace_back(bucket.entries.size(), false);
    num_missing_.push_back(0);
    const Range own = options_.is_sharded
                          ? flat_.slice(i, communicator_.rank(), communicator_.size())
                          : bucket.range;
    if (own.size() > 0) owned_.push_back(own);
  }
}

void BucketExchange::begin_step() {
  KILN_CHECK(micro_batch_ < 0 && works_.empty(), "a step begins before the last one is finished");
  next_to_send_ = 0;
  start_step();
}

void BucketExchange::begin(std::int64_t micro_batch, bool is_last) {
  KILN_CHECK(micro_batch_ < 0, "micro-batch {} begins within {}", micro_batch, micro_batch_);
  micro_batch_ = micro_batch;
  is_last_ = is_last;
  for (std::size_t i = 0; i < num_missing_.size(); ++i) {
    is_missing_[i].assign(is_missing_[i].size(), true);
    num_missing_[i] = is_missing_[i].size();
  }
}

// Runs within backward.
void BucketExchange::note_gradient(std::size_t entry) {
  if (micro_batch_ < 0) return;  // a backward pass that the loop did not start
  const std::size_t bucket = flat_.entries()[entry].bucket;
  const std::size_t place = entry - flat_.buckets()[bucket].entries.front();
  KILN_CHECK(num_missing_[bucket] > 0, "the gradient of {} comes after its bucket was taken",
             flat_.entries()[entry].name);
  if (!is_missing_[bucket][place]) return;
  is_missing_[bucket][place] = false;
  if (--num_missing_[bucket] == 0) complete(bucket);
}

void BucketExchange::complete(std::size_t bucket) {
  take(bucket, micro_batch_);
  if (is_last_) send_complete_buckets();
}

void BucketExchange::send_complete_buckets() {
  while (next_to_send_ < num_missing_.size() && num_missing_[next_to_send_] == 0) {
    send(next_to_send_++);
  }
}

void BucketExchange::end_micro_batch() {
  KILN_CHECK(micro_batch_ >= 0, "no micro-batch is under way");
  for (std::size_t i = 0; i < num_missing_.size(); ++i) {
    if (std::exchange(num_missing_[i], 0) > 0) complete(i);
  }
  micro_batch_ = -1;
}

void BucketExchange::finish() {
  KILN_CHECK(micro_batch_ < 0, "micro-batch {} has not ended", micro_batch_);
  send_complete_buckets();
  for (auto& work : works_) work.wait();
  works_.clear();
  for (std::size_t i = 0; i < num_missing_.size(); ++i) finish_bucket(i);
}

at::Tensor BucketExchange::gradient(Range range) {
  const auto& buckets = flat_.buckets();
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const Range bucket = buckets[i].range;
    if (bucket.begin <= range.begin && range.end <= bucket.end) {
      return sum(i).narrow(0, range.begin - bucket.begin, range.size());
    }
  }
  KILN_CHECK(false, "range [{}, {}) lies in no single bucket", range.begin, range.end);
  return {};
}

void BucketExchange::share_weights() {
  if (!options_.is_sharded) return;
  std::vector<Work> works;
  for (std::size_t i = 0; i < flat_.buckets().size(); ++i) {
    const at::Tensor weights = flat_.bucket_weights(i);
    works.push_back(communicator_.all_gather(part(weights, communicator_.rank()), weights));
  }
  for (auto& work : works) work.wait();
}

at::Tensor BucketExchange::part(const at::Tensor& bucket, int rank) const {
  const std::int64_t size = bucket.numel() / communicator_.size();
  return bucket.narrow(0, rank * size, size);
}

}  // namespace kiln
