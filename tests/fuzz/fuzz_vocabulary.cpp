#include "data/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

// A vocabulary, and the text that it is made of.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  const MemoryFile file(data, size);
  return fuzz([&] {
    const Tokenizer tokenizer(Vocabulary::load(file.path()), {});
    TokenEncoder encoder(tokenizer);
    const auto ids = encoder.encode({reinterpret_cast<const char*>(data), size});
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= tokenizer.vocabulary().size()) std::abort();
    }
    tokenizer.decode(ids);
  });
}
