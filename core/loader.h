#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"

namespace kiln {

/// Yields this rank's micro-batches, step after step, ahead of the loop.
///
/// A step with samples_seen = s consumes positions [s, s + global_batch); micro-batch m of it the
/// positions [s + m * micro_batch, s + (m + 1) * micro_batch). Rank r of W owns the micro-batches
/// share_of(M, r, W). What a batch holds depends on its positions and the recipe, never on rank,
/// thread or time.
class Loader {
 public:
  virtual ~Loader() = default;
  /// Starts reading so that the first next() is the step beginning at `samples_seen`.
  virtual void start(std::int64_t samples_seen) = 0;
  /// Micro-batches of the next step in ascending order, on the host, already through
  /// Objective::prepare. Blocks until read; throws Error(kData) when a shard is unreadable,
  /// Error(kCommunication), naming what it waits for, when the wait exceeds parallel.timeout_s.
  virtual std::vector<Batch> next() = 0;
  /// Waits at most `wait_s` seconds; true when next() will return, or throw, at once. The loop can
  /// check for signals while it waits. Counts towards the time-out of next().
  virtual bool is_ready_within(double wait_s) = 0;
  /// Any micro-batch, whoever owns it: number `micro_batch` of the step that begins at
  /// `samples_seen`. Read by the caller's thread; next() is not affected.
  virtual Batch read(std::int64_t samples_seen, std::int64_t micro_batch) = 0;
  virtual std::int64_t num_samples() const = 0;
};

}  // namespace kiln
