#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/communicator.h"
#include "core/gradient_exchange.h"
#include "core/optimizer/flat_parameters.h"
#include "dist/bucket_hooks.h"

namespace kiln {

struct ExchangeOptions {
  bool is_reproducible = false;
  bool is_sharded = false;
  /// Gradients travel as kFloat or kBFloat16. Reproducible mode always sends fp32.
  at::ScalarType reduce_dtype = at::kFloat;
  /// M, of all ranks; rank r computes share_of(M, r, W).
  std::int64_t num_micro_batches = 1;
};

/// `flat` and `communicator` must outlive the exchange. One exchange per phase.
std::unique_ptr<GradientExchange> make_gradient_exchange(FlatParameters& flat,
                                                         Communicator& communicator,
                                                         const ExchangeOptions& options);

/// What both modes have in common: which buckets are complete, in what order they are sent, and
/// what a rank owns afterwards.
///
/// A bucket is complete when every gradient of it has been accumulated in the micro-batch, at the
/// latest when the micro-batch ends: parameters without a gradient count as zero. In the rank's
/// last micro-batch complete buckets are sent while backward goes on with the others, always in
/// ascending order, so that all ranks queue the same operations in the same order.
class BucketExchange : public GradientExchange {
 public:
  void begin_step() final;
  void begin(std::int64_t micro_batch, bool is_last) final;
  void end_micro_batch() final;
  void finish() final;
  const std::vector<Range>& owned() const final { return owned_; }
  at::Tensor gradient(Range range) final;
  void share_weights() final;

 protected:
  BucketExchange(FlatParameters& flat, Communicator& communicator, const ExchangeOptions& options);

  virtual void start_step() = 0;
  /// Bucket `index` of flat gradient memory holds the gradients of this micro-batch (fast: added to
  /// those of the rank's earlier micro-batches).
  virtual void take(std::size_t index, std::int64_t micro_batch) = 0;
  /// Queues what turns the rank's share of bucket `index` into the sum.
  virtual void send(std::size_t index) = 0;
  /// After all operations are done: the bucket's memory of sums, fp32, ordered like the bucket.
  virtual at::Tensor sum(std::size_t index) = 0;
  /// After all operations are done.
  virtual void finish_bucket(std::size_t index) = 0;

  /// Part `rank` of a bucket's padded memory.
  at::Tensor part(const at::Tensor& bucket, int rank) const;
  void add_work(Work work) { works_.push_back(std::move(work)); }
  bool is_last() const { return is_last_; }  // the micro-batch under way, of this rank in the step

  FlatParameters& flat_;
  Communicator& communicator_;
  const ExchangeOptions options_;

 private:
  void note_gradient(std::size_t entry);
  void complete(std::size_t bucket);
  void send_complete_buckets();

  std::vector<Range> owned_;
  std::int64_t micro_batch_ = -1;  // under way; -1: none
  bool is_last_ = false;
  std::vector<std::vector<bool>> is_missing_;  // in the micro-batch, by bucket and entry in it
  std::vector<std::size_t> num_missing_;       // by bucket
  std::size_t next_to_send_ = 0;
  std::vector<Work> works_;
  BucketHooks hooks_;  // declared last, because hooks call into the members above
};

}  // namespace kiln
