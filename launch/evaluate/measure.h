#pragma once

#include <memory>
#include <string>

#include "launch/evaluate/evaluations.h"
#include "models/capabilities.h"

namespace kiln {

/// A dataset as capabilities read it. `data` must outlive it.
SampleReader sample_reader(const BatchSource& data, std::int64_t num_threads);

/// What a model's own measurement on eval.path is given. `train_data` stays with the result.
struct MeasurementInput {
  explicit MeasurementInput(const Evaluated& evaluated);
  std::unique_ptr<SampleReader> train_data;
  MeasurementSetup setup;
};

/// All passes of a measurement over the first setup.count samples of eval.path; "samples" beside its
/// own figures. Collective.
Figures run_measurement(Measurement& measurement, const Evaluated& evaluated);

/// The model's own evaluation of that name. Throws Error(kUsage) for models without it.
Figures evaluate_own(const Evaluated& evaluated, const std::string& name);

}  // namespace kiln
