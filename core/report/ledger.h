#pragma once

#include <filesystem>
#include <fstream>
#include <memory>

#include "core/loader.h"

namespace kiln {

/// Passes a loader's batches on and writes down what was in each: the proof that every number of
/// ranks does the same work, and the answer to "which samples did step 1,234 see?".
///
/// One JSON line a micro-batch in RUN/ledger/RANK.jsonl:
///   {"step": 3, "micro_batch": 5, "first_position": 1234, "tensors": {"image": "xxh3...", ...}}
class LedgerLoader : public Loader {
 public:
  LedgerLoader(std::unique_ptr<Loader> loader, const std::filesystem::path& run_folder, int rank,
               std::int64_t global_batch);
  void start(std::int64_t samples_seen) override;
  std::vector<Batch> next() override;
  Batch read(std::int64_t samples_seen, std::int64_t micro_batch) override {
    return loader_->read(samples_seen, micro_batch);
  }
  bool is_ready_within(double wait_s) override { return loader_->is_ready_within(wait_s); }
  std::int64_t num_samples() const override { return loader_->num_samples(); }

 private:
  std::unique_ptr<Loader> loader_;
  std::ofstream file_;
  std::int64_t global_batch_;
  std::int64_t step_ = 0;
};

}  // namespace kiln
