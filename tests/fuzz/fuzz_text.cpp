#include <filesystem>

#include "data/importers/document_reader.h"
#include "tests/fuzz/fuzz.h"

// Text and JSON lines, packed or not; the first byte says which, and where parts are cut.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  static const Tokenizer tokenizer(
      Vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "##b", ".", "\u4E2D"},
                 "fuzz"),
      {});
  if (size == 0) return 0;
  const unsigned how = data[0];
  const MemoryFile file(data + 1, size - 1);
  return fuzz([&] {
    ShardWriter shard("/nowhere/shard.h5", text_fields(tokenizer.vocabulary().size()));
    DocumentWriter writer(tokenizer, (how & 4) != 0, shard);
    const std::int64_t part = how & 8 ? static_cast<std::int64_t>(size) : 1 + (how >> 4) * 3;
    for (std::int64_t begin = 0; begin < static_cast<std::int64_t>(size); begin += part) {
      const FilePart piece = {file.path(), {begin, begin + part}};
      if ((how & 3) == 0) {
        read_jsonl(piece, "text", writer);
      } else {
        read_text(piece, static_cast<DocumentBoundary>((how & 3) - 1), part, writer);
      }
    }
    if (shard.num_rows("tokens") != writer.counts().documents) std::abort();
  });
}
