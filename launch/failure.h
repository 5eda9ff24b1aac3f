#pragma once

#include <string>

#include "core/error.h"

namespace kiln {

/// Prints "kiln: error: MESSAGE" to standard error, once for all ranks of this node: an error that
/// all of them meet (a mistake in the recipe) is shown by the first. Returns the exit status. With
/// several ranks it comes back half a second later on those that stay silent, so that their end
/// does not cut the message short.
int fail(ExitCode code, const std::string& message);

}  // namespace kiln
