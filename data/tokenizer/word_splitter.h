#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kiln {

/// How text is normalised before it is cut into words.
struct NormalizerOptions {
  bool lowercase = true;
  bool strip_accents = true;  // NFD, then drop category Mn; BERT ties it to `lowercase`
  static NormalizerOptions cased() { return {false, false}; }
  friend bool operator==(const NormalizerOptions&, const NormalizerOptions&) = default;
};

/// BERT's basic tokenizer: cleans, normalises and cuts text into words.
///
/// 1. Dropped: NUL, U+FFFD, categories Cc, Cf and Co (tab, LF, CR excepted) and invalid UTF-8.
/// 2. Tab, LF, CR and categories Zs, Zl, Zp separate words.
/// 3. CJK ideographs and punctuation (ASCII symbols count as such) are words of their own.
/// 4. Accents are stripped, then letters are lower-cased one by one (a final sigma is not special).
///
/// What each code point turns into is looked up in a table of 256-entry blocks that are filled from
/// ICU the first time one is needed.
///
/// Thread safety: const members may be called from several threads.
class WordSplitter {
 public:
  explicit WordSplitter(NormalizerOptions options);
  ~WordSplitter();
  WordSplitter(const WordSplitter&) = delete;
  WordSplitter& operator=(const WordSplitter&) = delete;

  const NormalizerOptions& options() const { return options_; }

  /// Longest word handed out whole, in code points. Longer ones come with is_too_long and no text.
  static constexpr int kMaxWordCodePoints = 100;

  /// A word in UTF-8, followed by at least 16 zero bytes; valid during the call only.
  struct Word {
    const char* data;
    std::size_t size;
    bool is_too_long;
  };

  /// Calls `emit(Word)` for every word of `text` in order. Returns the number of invalid UTF-8
  /// sequences that were dropped (one per maximal invalid part).
  template <typename Emit>
  std::int64_t split(std::string_view text, Emit&& emit) const;

 private:
  enum Kind : std::uint32_t { kPlain, kDrop, kSpace, kIsolated, kSequence, kReordered };
  /// Kind in the top 8 bits; below them a code point, or for kSequence an index into sequences.
  using Entry = std::uint32_t;
  struct Block {
    std::array<Entry, 256> entries;
    std::vector<std::vector<Entry>> sequences;
  };
  static Kind kind(Entry entry) { return static_cast<Kind>(entry >> 24); }
  static std::uint32_t value(Entry entry) { return entry & 0xFFFFFF; }

  struct Buffer {
    static constexpr std::size_t kCapacity = 4 * kMaxWordCodePoints;
    std::array<char, kCapacity + 16> bytes{};
    std::size_t size = 0;
    int code_points = 0;
    void append_ascii(char c) {
      if (code_points < kMaxWordCodePoints) bytes[size++] = c;
      ++code_points;
    }
    void append(std::uint32_t code_point);
    template <typename Emit>
    void flush(Emit&& emit) {
      if (code_points == 0) return;
      const bool is_too_long = code_points > kMaxWordCodePoints;
      // Zeros behind the word let its bytes be compared as two integers.
      for (std::size_t i = 0; i < 16; ++i) bytes[size + i] = 0;
      emit(Word{bytes.data(), is_too_long ? 0 : size, is_too_long});
      size = 0;
      code_points = 0;
    }
    template <typename Emit>
    void isolate(std::uint32_t code_point, Emit&& emit) {
      flush(emit);
      append(code_point);
      flush(emit);
    }
  };

  /// Next code point of `text` from `at`, which moves behind it; negative for an invalid sequence.
  static std::int32_t decode(std::string_view text, std::size_t& at);
  const Block& block(std::uint32_t code_point) const;
  std::unique_ptr<Block> make_block(std::uint32_t first) const;
  Entry make_entry(std::uint32_t code_point, Block& block) const;
  Entry classify(std::uint32_t code_point) const;
  /// Whether canonical reordering could change `text`: it holds marks that survive stripping.
  bool needs_reordering(std::string_view text) const;
  std::string reorder(std::string_view text) const;

  NormalizerOptions options_;
  std::array<Entry, 128> ascii_;
  mutable std::array<std::atomic<const Block*>, 0x110000 / 256> blocks_{};
};

template <typename Emit>
std::int64_t WordSplitter::split(std::string_view text, Emit&& emit) const {
  std::string reordered;
  if (options_.strip_accents && needs_reordering(text)) {
    reordered = reorder(text);
    text = reordered;
  }
  Buffer word;
  std::int64_t num_invalid = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      const Entry entry = ascii_[byte];
      ++at;
      if (kind(entry) == kPlain) {
        word.append_ascii(static_cast<char>(entry));
      } else if (kind(entry) == kSpace) {
        word.flush(emit);
      } else if (kind(entry) == kIsolated) {
        word.isolate(value(entry), emit);
      }
      continue;
    }
    const std::int32_t decoded = decode(text, at);
    if (decoded < 0) {
      ++num_invalid;
      continue;
    }
    const auto code_point = static_cast<std::uint32_t>(decoded);
    const Block& entries = block(code_point);
    const Entry entry = entries.entries[code_point % 256];
    switch (kind(entry)) {
      case kPlain:
      case kReordered:
        word.append(value(entry));
        break;
      case kDrop:
        break;
      case kSpace:
        word.flush(emit);
        break;
      case kIsolated:
        word.isolate(value(entry), emit);
        break;
      case kSequence:
        for (const Entry part : entries.sequences[value(entry)]) {
          if (kind(part) == kIsolated) {
            word.isolate(value(part), emit);
          } else {
            word.append(value(part));
          }
        }
        break;
    }
  }
  word.flush(emit);
  return num_invalid;
}

}  // namespace kiln
