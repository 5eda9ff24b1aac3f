#pragma once

#include <cstdint>

namespace kiln {

struct SampleOrderOptions {
  std::int64_t num_samples = 0;
  /// Samples that lie together on disk: usually those of a shard.
  std::int64_t block_samples = 0;
  /// Blocks that are mixed with each other at a time.
  std::int64_t window_blocks = 16;
  bool shuffle = true;  // false: 0, 1, 2, ... again and again
  std::uint64_t seed = 0;
};

/// Which sample stands at a position. Positions run on across epochs; in each epoch (num_samples
/// positions) every sample stands exactly once.
///
/// The shuffle has two levels, so that reads stay near each other while everything is mixed: blocks
/// of neighbouring samples are permuted, and the samples of `window_blocks` successive blocks are
/// permuted among themselves. A dataset of at most window_blocks blocks is shuffled uniformly.
///
/// A pure function of (options, position) that stores no list: any position costs the same, on any
/// rank, after any resume. Thread-safe.
class SampleOrder {
 public:
  explicit SampleOrder(const SampleOrderOptions& options);
  std::int64_t at(std::int64_t position) const;
  std::int64_t num_samples() const { return options_.num_samples; }

 private:
  std::int64_t shuffled(std::int64_t epoch, std::int64_t index) const;
  SampleOrderOptions options_;
  std::int64_t num_blocks_ = 0;
  std::int64_t last_block_samples_ = 0;
};

}  // namespace kiln
