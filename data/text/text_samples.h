#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace kiln {

/// Texts numbered from 0: the documents of a text dataset, or the lines of a file.
///
/// Thread safety: const members may be called from several threads.
class TextSamples {
 public:
  virtual ~TextSamples() = default;
  virtual std::int64_t size() const = 0;
  /// Ids of a text without [CLS] and [SEP], of longer ones at least the first `most`. `encoder` is
  /// that of the tokenizer the samples were opened with.
  virtual std::vector<std::int32_t> ids(std::int64_t number, std::int64_t most,
                                        TokenEncoder& encoder) const = 0;
  /// Equal for equal contents.
  virtual std::string fingerprint() const = 0;
};

/// A folder: a text dataset, which has to be made with `tokenizer`. A file: every line is a text,
/// blank ones too (the empty text), so that text i belongs to line i; in a file named *.jsonl every
/// line is an object with the text under `text_key`.
///
/// Lines are found at once, 8 bytes of memory each, and read when asked for. Throws Error(kData)
/// for what is not there, for a dataset of another tokenizer or kind, an empty file, a line beyond
/// 64 MiB, and for objects that are none or lack the text, naming the line.
std::unique_ptr<TextSamples> open_text_samples(const std::filesystem::path& path,
                                               const std::string& text_key,
                                               const Tokenizer& tokenizer);

}  // namespace kiln
