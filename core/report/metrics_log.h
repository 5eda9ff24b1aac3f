#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "core/report/progress_bar.h"
#include "core/report/step_report.h"
#include "core/report/tensorboard.h"

namespace kiln {

/// Where rank 0 writes what a run reports: RUN/metrics.jsonl (a line a report, flushed),
/// TensorBoard and the progress bar on the console.
class MetricsLog {
 public:
  struct Options {
    std::filesystem::path run_folder;
    std::int64_t total_samples = 0;
    std::int64_t samples_seen = 0;  // where this start resumes
    std::int64_t first_step = 0;    // steps already done
    double flops_per_sample = 0.0;  // 0: unknown, no mfu
    double peak_flops = 0.0;        // of all ranks together; 0: unknown
  };
  /// Lines of metrics.jsonl beyond `first_step` belong to steps that are about to be done again,
  /// and are dropped. Throws Error(kCheckpoint) when the folder cannot be written.
  explicit MetricsLog(const Options& options);
  ~MetricsLog();

  void report(const StepReport& report);
  /// Figures of an evaluation: {"step": ..., "eval/knn_accuracy": ...} as a line of its own.
  void evaluation(std::int64_t step, const std::map<std::string, double>& figures);
  void picture(std::int64_t step, const std::string& tag, int width, int height,
               std::string_view png);

 private:
  void write_line(const std::string& line);
  Options options_;
  std::FILE* jsonl_ = nullptr;
  std::optional<TensorBoardWriter> tensorboard_;
  ProgressBar bar_;
};

}  // namespace kiln
