#pragma once

#include <string>

#include "core/base/error.h"

namespace kiln {

/// Prints "kiln: error: MESSAGE" to standard error, once for all ranks of this node: an error that
/// all of them meet (a mistake in the recipe) is shown by the first. Returns the exit status. With
/// several ranks it comes back half a second later on those that stay silent, so that their end
/// does not cut the message short.
int fail(ExitCode code, const std::string& message);

/// Leaves the exit status for a supervisor (the first rank's that is not kDone): mpirun has a
/// status 1 of its own, and srun returns that of the ranks it killed after the first ended.
void leave_note(ExitCode code);

}  // namespace kiln
