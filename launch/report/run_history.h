#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kiln {

/// One quantity over a run: values[i] was reported at samples[i].
struct Curve {
  std::vector<double> samples;
  std::vector<double> values;
};

/// What RUN/metrics.jsonl and RUN/evaluations.jsonl say of a run.
struct RunHistory {
  std::int64_t last_step = 0;
  std::int64_t last_samples = 0;
  std::map<std::string, Curve> curves;  // "loss", "lr", "eval/knn_accuracy", ...

  /// Seconds spent in steps until so many samples had been seen.
  Curve clock;

  // Seconds of rank 0, summed over the run.
  double total_s = 0.0;
  double data_wait_s = 0.0;
  double comm_wait_s = 0.0;

  /// Evaluations by `kiln eval`, oldest first: figures by name; texts hold kind and what was
  /// evaluated.
  struct Evaluation {
    std::map<std::string, std::string> texts;
    std::map<std::string, double> figures;
  };
  std::vector<Evaluation> evaluations;
};

/// Lines that are not complete (a run killed while writing) are left out. Throws Error(kUsage) when
/// `run_folder` holds no metrics.jsonl.
RunHistory read_run_history(const std::filesystem::path& run_folder);

}  // namespace kiln
