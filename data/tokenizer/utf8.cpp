#include "data/tokenizer/utf8.h"

#include <unicode/utf8.h>

namespace kiln {

std::int64_t repair_utf8(std::string& text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  std::string repaired;
  std::int64_t num_invalid = 0;
  std::size_t copied = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    UChar32 code_point;
    U8_NEXT(bytes, at, text.size(), code_point);
    if (code_point >= 0) continue;
    ++num_invalid;
    repaired.append(text, copied, begin - copied).append("\uFFFD");
    copied = at;
  }
  if (num_invalid > 0) text = repaired.append(text, copied);
  return num_invalid;
}

}  // namespace kiln
