#include "data/importers/tar.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const kiln::MemoryFile file(data, size);
  return kiln::fuzz([&] {
    for (const kiln::TarEntry& entry : kiln::list_tar(file.path()).files) {
      if (entry.offset < 0 || entry.bytes < 0) std::abort();
      if (entry.offset + entry.bytes > static_cast<std::int64_t>(size)) std::abort();
    }
  });
}
