#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace kiln {

/// One logged step, the same on all ranks but for the times. What metrics.jsonl, TensorBoard and
/// the console show.
struct StepReport {
  std::int64_t step = 0;     // steps done, 1 for the first
  std::int64_t samples = 0;  // samples seen, this step's included
  double loss = 0.0;         // mean over the global batch
  std::map<std::string, double> metrics;
  double lr = 0.0;
  double grad_norm = 0.0;      // before clipping
  double samples_per_s = 0.0;  // over all ranks, since the last report
  double data_wait_s = 0.0;    // of this rank, since the last report
  double comm_wait_s = 0.0;
  std::int64_t memory_bytes = 0;  // peak of this process (CPU) or device
};

}  // namespace kiln
