#include "core/checkpoint/safetensors.h"
#include "core/torch.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  const MemoryFile file(data, size);
  return fuzz([&] {
    const SafetensorsFile tensors(file.path());
    for (const auto& [name, entry] : tensors.entries()) {
      if (tensors.read(name).numel() != entry.numel) std::abort();
    }
  });
}
