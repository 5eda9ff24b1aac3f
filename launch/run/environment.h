#pragma once

#include <map>
#include <string>

namespace kiln {

/// What besides the recipe has a say in the bits of a result: compute threads, program, LibTorch,
/// kind of processor. Kept with every checkpoint.
std::map<std::string, std::string> environment_facts();

}  // namespace kiln
