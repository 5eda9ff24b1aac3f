#pragma once

#include <memory>

#include "core/communicator.h"

namespace kiln {

/// One rank alone, host or device tensors. Every operation is done when it returns.
std::unique_ptr<Communicator> make_local_communicator();

}  // namespace kiln
