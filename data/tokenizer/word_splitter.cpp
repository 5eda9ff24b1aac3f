#include "data/tokenizer/word_splitter.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "core/base/error.h"

namespace kiln {
namespace {

const UNormalizer2& nfd() {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* instance = unorm2_getNFDInstance(&status);
  KILN_CHECK(U_SUCCESS(status), "ICU has no normalisation data: {}", u_errorName(status));
  return *instance;
}

bool is_cjk_ideograph(std::uint32_t c) {
  // The fifth block starts at 2B920 here, and at 2B820 in the standard. The reference has this
  // error, and ids must agree with the reference.
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/// Major version of Unicode that brought the code point.
int unicode_version(std::uint32_t code_point) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(code_point), age);
  return age[0];
}

/// General category as of Unicode 8.0, the version the reference tokenizer's tables were made from:
/// characters added since count as unassigned, so that ids do not change with ICU either.
std::uint32_t category(std::uint32_t c) {
  switch (c) {  // the six that changed category since
    case 0x166D:
    case 0x111C9:
      return U_GC_PO_MASK;
    case 0x1734:
      return U_GC_MN_MASK;
    case 0x1885:
    case 0x1886:
      return U_GC_LO_MASK;
    case 0xA9BD:
      return U_GC_MC_MASK;
    default:
      break;
  }
  if (unicode_version(c) > 8) return U_GC_CN_MASK;
  return U_MASK(u_charType(static_cast<UChar32>(c)));
}

bool is_punctuation(std::uint32_t c) {
  if (c < 0x80) {
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126);
  }
  return (category(c) & U_GC_P_MASK) != 0;
}

void append_utf8(std::string& out, std::uint32_t code_point) {
  char bytes[4];
  std::int32_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, code_point);
  out.append(bytes, static_cast<std::size_t>(size));
}

/// Full canonical decomposition of one code point; the reference's table is that of Unicode 12.
std::vector<std::uint32_t> decompose(std::uint32_t code_point) {
  if (unicode_version(code_point) > 12) return {code_point};
  UErrorCode status = U_ZERO_ERROR;
  UChar units[32];
  const std::int32_t size =
      unorm2_getDecomposition(&nfd(), static_cast<UChar32>(code_point), units, 32, &status);
  if (size < 0) return {code_point};
  KILN_CHECK(U_SUCCESS(status), "decomposition of U+{:04X}: {}", code_point, u_errorName(status));
  std::vector<std::uint32_t> parts;
  for (std::int32_t i = 0; i < size;) {
    UChar32 part;
    U16_NEXT(units, i, size, part);
    parts.push_back(static_cast<std::uint32_t>(part));
  }
  return parts;
}

/// Unconditional lower case of one code point; U+0130 is the only one that becomes two.
std::vector<std::uint32_t> lower(std::uint32_t code_point) {
  if (code_point == 0x130) return {'i', 0x307};
  return {static_cast<std::uint32_t>(u_tolower(static_cast<UChar32>(code_point)))};
}

}  // namespace

void WordSplitter::Buffer::append(std::uint32_t code_point) {
  if (code_points < kMaxWordCodePoints) U8_APPEND_UNSAFE(bytes.data(), size, code_point);
  ++code_points;
}

WordSplitter::WordSplitter(NormalizerOptions options) : options_(options) {
  const Block& first = block(0);
  std::copy_n(first.entries.begin(), ascii_.size(), ascii_.begin());
}

WordSplitter::~WordSplitter() {
  for (auto& block : blocks_) delete block.load();
}

std::int32_t WordSplitter::decode(std::string_view text, std::size_t& at) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  UChar32 code_point;
  U8_NEXT(bytes, at, text.size(), code_point);
  return code_point;
}

const WordSplitter::Block& WordSplitter::block(std::uint32_t code_point) const {
  auto& slot = blocks_[code_point / 256];
  const Block* found = slot.load(std::memory_order_acquire);
  if (found != nullptr) [[likely]]
    return *found;
  auto made = make_block(code_point / 256 * 256);
  if (slot.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *found;  // another thread was first
}

std::unique_ptr<WordSplitter::Block> WordSplitter::make_block(std::uint32_t first) const {
  auto made = std::make_unique<Block>();
  for (std::uint32_t i = 0; i < 256; ++i) made->entries[i] = make_entry(first + i, *made);
  return made;
}

WordSplitter::Entry WordSplitter::classify(std::uint32_t code_point) const {
  const Kind kind = is_punctuation(code_point) ? kIsolated : kPlain;
  return static_cast<Entry>(kind) << 24 | code_point;
}

WordSplitter::Entry WordSplitter::make_entry(std::uint32_t code_point, Block& block) const {
  const auto entry = [](Kind kind, std::uint32_t value) { return Entry{kind} << 24 | value; };
  if (code_point == '\t' || code_point == '\n' || code_point == '\r') return entry(kSpace, 0);
  if (code_point == 0xFFFD ||
      (category(code_point) & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK)) != 0) {
    return entry(kDrop, 0);
  }
  if ((category(code_point) & U_GC_Z_MASK) != 0) return entry(kSpace, 0);

  std::vector<Entry> parts;
  bool is_reordered = false;
  for (const std::uint32_t part :
       options_.strip_accents ? decompose(code_point) : std::vector{code_point}) {
    if (options_.strip_accents) {
      if (category(part) == U_GC_MN_MASK) continue;
      is_reordered |= u_getCombiningClass(static_cast<UChar32>(part)) != 0;
    }
    for (const std::uint32_t out : options_.lowercase ? lower(part) : std::vector{part}) {
      parts.push_back(classify(out));
    }
  }
  if (parts.empty()) return entry(kDrop, 0);
  if (parts.size() == 1) {
    if (is_cjk_ideograph(code_point)) return entry(kIsolated, value(parts[0]));
    return is_reordered ? entry(kReordered, value(parts[0])) : parts[0];
  }
  block.sequences.push_back(std::move(parts));
  return entry(kSequence, static_cast<std::uint32_t>(block.sequences.size() - 1));
}

bool WordSplitter::needs_reordering(std::string_view text) const {
  // The first spacing mark with a combining class is U+1B44, in UTF-8 E1 AD 84.
  bool has_candidates = false;
  for (const char byte : text) has_candidates |= static_cast<unsigned char>(byte) >= 0xE1;
  if (!has_candidates) return false;
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0xE1) {
      ++at;
      continue;
    }
    const std::int32_t code_point = decode(text, at);
    if (code_point < 0) continue;
    const auto c = static_cast<std::uint32_t>(code_point);
    if (kind(block(c).entries[c % 256]) == kReordered) return true;
  }
  return false;
}

std::string WordSplitter::reorder(std::string_view text) const {
  std::string out;
  // Canonical order of the run: a stable sort by combining class, which ICU does as part of NFD.
  std::vector<std::pair<std::uint8_t, std::uint32_t>> marks;
  const auto put_marks = [&] {
    std::stable_sort(marks.begin(), marks.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& mark : marks) append_utf8(out, mark.second);
    marks.clear();
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const std::int32_t decoded = decode(text, at);
    if (decoded <
        0) {  // kept so that it is counted; it is dropped later, so it does not end a run of marks
      out.append(text.substr(begin, at - begin));
      continue;
    }
    const auto code_point = static_cast<std::uint32_t>(decoded);
    if (kind(block(code_point).entries[code_point % 256]) == kDrop &&
        category(code_point) != U_GC_MN_MASK) {
      continue;
    }
    for (const std::uint32_t part : decompose(code_point)) {
      const std::uint8_t combining = u_getCombiningClass(static_cast<UChar32>(part));
      if (combining == 0) {
        put_marks();
        append_utf8(out, part);
      } else {
        marks.emplace_back(combining, part);
      }
    }
  }
  put_marks();
  return out;
}

}  // namespace kiln
