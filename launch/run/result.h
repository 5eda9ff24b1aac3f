#pragma once

#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace kiln {

/// What a command leaves behind: the exit status, and what --json prints on the last line of
/// standard output.
struct CommandResult {
  ExitCode code = ExitCode::kDone;
  nlohmann::json json = nullptr;
};

}  // namespace kiln
