#include "launch/run/environment.h"

#include <torch/version.h>

#include <fstream>

#include "core/torch.h"
#include "dist/mpi/process.h"

namespace kiln {

namespace {

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

std::map<std::string, std::string> environment_facts() {
  return {{"threads", std::to_string(at::get_num_threads())},
          {"program", program_hash()},
          {"libtorch", TORCH_VERSION},
          {"processor", processor_name()}};
}

}  // namespace kiln
