#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <exception>
#include <functional>
#include <string>

#include "core/base/work.h"
#include "core/communicator.h"
#include "core/objective.h"
#include "launch/run/training_setup.h"
#include "models/measures/knn.h"

namespace kiln {

/// Of for_each_share().
std::int64_t num_micro_batches(std::int64_t count);

/// Samples [0, count) of a dataset in micro-batches of a fixed size, each computed by one rank: the
/// last is filled up with copies of its last sample, so that results depend neither on the number
/// of ranks nor on where the dataset ends. `use` gets a batch on `device`, as
/// read, and its range of samples.
/// Does not communicate, but for `should_stop`: where given, all ranks call it before each of their
/// batches, equally often, and when it says so EvaluationStopped is thrown on all of them.
void for_each_share(const BatchSource& source, std::int64_t count, Communicator& communicator,
                    at::Device device, std::int64_t num_threads,
                    const std::function<void(Batch&, Range)>& use,
                    const std::function<bool()>& should_stop = {});

struct EvaluationStopped : std::exception {};

/// Features of the first `max_samples` (0: all) samples, on every rank. `pool`: of FeatureExtractor; empty: its first. Throws
/// Error(kUsage) for an objective without features, Error(kData) for a dataset without labels.
LabelledFeatures extract_features(Objective& objective, const OpenedData& data,
                                  std::int64_t max_samples, const std::string& pool,
                                  Communicator& communicator, at::Device device,
                                  std::int64_t num_threads,
                                  const std::function<bool()>& should_stop = {});

}  // namespace kiln
