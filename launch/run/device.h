#pragma once

#include <c10/core/Device.h>

#include <string>

#include "core/recipe/recipe.h"
#include "launch/run/world.h"

namespace kiln {

/// The device of this rank for run.device = auto | cpu | cuda: on a node with GPUs the one with the
/// rank's number on the node (counted round, where ranks share GPUs: NCCL_HOSTID). From then on
/// fp32 is computed as fp32 there. Throws Error(kUsage) when there is none to have.
at::Device choose_device(const std::string& name, World& world);

/// That of a run. On a GPU, algorithms of convolutions are from then on chosen by timing them;
/// with run.reproducible, instead LibTorch and cuBLAS give the same
/// bits in every run, or refuse an operator that cannot: at::globalContext() says so to models.
at::Device device_of_run(const RunOptions& run, World& world);

/// FLOP/s of dense matrix products in run.precision that the maker states for such a device; 0 where
/// they are not known, as for CPUs (`kiln bench step` measures them).
double peak_flops(at::Device device, const std::string& precision);

}  // namespace kiln
