#pragma once

#include "launch/run/result.h"
#include "launch/trained/trained_model.h"
#include "models/registry.h"

namespace kiln {

/// `kiln eval NAME DATASET|RUN eval.path=TEXT` of a model that is counted: on a text dataset (a
/// run's data.path), by all ranks together, held against another one. The same on any number of
/// ranks.
CommandResult evaluate_counted(const CountedModelEntry& model, const TrainedModelArgs& args);

}  // namespace kiln
