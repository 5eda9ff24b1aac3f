#pragma once

#include <c10/core/Device.h>

#include <string>

#include "launch/world.h"

namespace kiln {

/// The device of this rank for run.device = auto | cpu | cuda: on a node with GPUs the one with the
/// rank's number on the node. Throws Error(kUsage) when there is none to have.
at::Device choose_device(const std::string& name, World& world);

}  // namespace kiln
