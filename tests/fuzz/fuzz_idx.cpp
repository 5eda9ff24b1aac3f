#include "data/importers/idx.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const kiln::MemoryFile file(data, size);
  return kiln::fuzz([&] {
    const kiln::IdxFile idx = kiln::read_idx(file.path());
    std::size_t values = 1;
    for (const std::int64_t dim : idx.dims) values *= static_cast<std::size_t>(dim);
    if (idx.values.size() != values) std::abort();
  });
}
