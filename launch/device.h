#pragma once

#include <c10/core/Device.h>

#include <string>

#include "core/recipe.h"
#include "launch/world.h"

namespace kiln {

/// The device of this rank for run.device = auto | cpu | cuda: on a node with GPUs the one with the
/// rank's number on the node. Throws Error(kUsage) when there is none to have.
at::Device choose_device(const std::string& name, World& world);

/// That of a run. With run.reproducible on a GPU, LibTorch and cuBLAS from then on give the same
/// bits in every run, or refuse an operator that cannot: at::globalContext() says so to models.
at::Device device_of_run(const RunOptions& run, World& world);

}  // namespace kiln
