#include "launch/supervise/hosts.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  const MemoryFile file(data, size);
  return fuzz([&] { num_slots(read_hostfile(file.path())); }) | fuzz([&] {
           to_text(parse_hosts(std::string(reinterpret_cast<const char*>(data), size)));
         });
}
