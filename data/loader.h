#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/loader.h"
#include "data/batch_source.h"
#include "data/sample_order.h"

namespace kiln {

struct LoaderOptions {
  std::int64_t global_batch = 0;
  std::int64_t micro_batch = 0;
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::int64_t num_threads = 2;
  std::int64_t look_ahead_steps = 2;  // steps read beyond the one the loop works on
  double timeout_s = 600.0;
};

/// Objective::prepare with the seed bound; called on reader threads, concurrently.
using Prepare = std::function<void(Batch&)>;

/// Loader whose threads read a few samples at a time, in order, into the batches of the coming
/// steps.
///
/// Invariants:
/// 1. A batch is the same bytes for any number of threads and ranks.
/// 2. At most look_ahead_steps + 1 steps are in memory.
/// 3. The first failure of a thread ends reading; next() throws it. Destruction does not wait for a
///    thread that hangs in the file system after a time-out.
class ThreadedLoader : public Loader {
 public:
  ThreadedLoader(std::shared_ptr<const BatchSource> source, const SampleOrder& order,
                 const LoaderOptions& options, Prepare prepare);
  ~ThreadedLoader() override;

  void start(std::int64_t samples_seen) override;
  std::vector<Batch> next() override;
  bool is_ready_within(double wait_s) override;
  Batch read(std::int64_t samples_seen, std::int64_t micro_batch) override;
  std::int64_t num_samples() const override;

 private:
  struct State;
  void stop();
  std::shared_ptr<State> state_;
  bool wait_until(std::chrono::steady_clock::time_point moment);
  /// When the wait for the step that is due began, if it has.
  std::optional<std::chrono::steady_clock::time_point> wait_began_;
};

/// Rows in the dataset's order, for evaluation: position = id. Thread-safe.
class DatasetReader {
 public:
  DatasetReader(std::shared_ptr<const BatchSource> source, std::int64_t num_threads);
  std::int64_t num_samples() const { return source_->num_samples(); }
  /// Samples [begin, end) as one batch.
  Batch read(std::int64_t begin, std::int64_t end) const;

 private:
  std::shared_ptr<const BatchSource> source_;
  std::int64_t num_threads_;
};

}  // namespace kiln
