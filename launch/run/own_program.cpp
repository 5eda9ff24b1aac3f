#include "launch/run/own_program.h"

#include <cstdlib>
#include <filesystem>

namespace kiln {

std::string own_program() {
  const char* script = std::getenv("KILN_PROGRAM");
  return script ? script : std::filesystem::read_symlink("/proc/self/exe").string();
}

}  // namespace kiln
