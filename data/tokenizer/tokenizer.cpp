#include "data/tokenizer/tokenizer.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"

namespace kiln {
namespace {

std::string hash_of(const Vocabulary& vocabulary, const NormalizerOptions& options) {
  std::string text = fmt::format("wordpiece lowercase={} strip_accents={}\n", options.lowercase,
                                 options.strip_accents);
  for (const std::string& piece : vocabulary.pieces()) text += piece + '\n';
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

Tokenizer::Tokenizer(Vocabulary vocabulary, NormalizerOptions options)
    : vocabulary_(std::move(vocabulary)), words_(options), hash_(hash_of(vocabulary_, options)) {}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string_view piece = vocabulary_.piece(id);
    if (vocabulary_.is_continuation(id)) {
      text += piece.substr(2);
      continue;
    }
    if (!text.empty()) text += ' ';
    text += piece;
  }
  return text;
}

TokenEncoder::TokenEncoder(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), cache_(std::size_t{1} << kSlotBits) {}

std::vector<std::int32_t> TokenEncoder::encode(std::string_view text) {
  std::vector<std::int32_t> ids;
  encode(text, ids);
  return ids;
}

void TokenEncoder::encode(std::string_view text, std::vector<std::int32_t>& ids) {
  std::size_t begin = 0;
  for (std::size_t at = text.find('['); at != text.npos; at = text.find('[', at + 1)) {
    for (const std::string_view special : Vocabulary::kSpecials) {
      if (!text.substr(at).starts_with(special)) continue;
      encode_segment(text.substr(begin, at - begin), ids);
      ids.push_back(tokenizer_.vocabulary().find(special));
      begin = at + special.size();
      at = begin - 1;
      break;
    }
  }
  encode_segment(text.substr(begin), ids);
}

void TokenEncoder::encode_segment(std::string_view segment, std::vector<std::int32_t>& ids) {
  num_invalid_ += tokenizer_.words().split(
      segment, [&](const WordSplitter::Word& word) { encode_word(word, ids); });
}

void TokenEncoder::encode_word(const WordSplitter::Word& word, std::vector<std::int32_t>& ids) {
  if (word.is_too_long) {
    ids.push_back(tokenizer_.vocabulary().unk());
    return;
  }
  const std::string_view text(word.data, word.size);
  if (word.size > 16) {
    tokenizer_.vocabulary().match(text, ids);
    return;
  }
  std::array<std::uint64_t, 2> key;
  std::memcpy(key.data(), word.data, 16);
  const std::uint64_t mixed = (key[0] ^ (key[1] * 0x9E3779B97F4A7C15u)) * 0xD6E8FEB86659FD93u;
  Slot& slot = cache_[mixed >> (64 - kSlotBits)];
  if (slot.word == key) {
    ids.insert(ids.end(), slot.ids.begin(), slot.ids.begin() + slot.num_ids);
    return;
  }
  const std::size_t num_before = ids.size();
  tokenizer_.vocabulary().match(text, ids);
  const std::size_t num_ids = ids.size() - num_before;
  if (num_ids > slot.ids.size()) return;
  slot.word = key;
  slot.num_ids = static_cast<std::int32_t>(num_ids);
  std::copy(ids.end() - static_cast<std::ptrdiff_t>(num_ids), ids.end(), slot.ids.begin());
}

ModelInput make_input(const Vocabulary& vocabulary, std::span<const std::int32_t> a,
                      std::span<const std::int32_t> b, std::int64_t max_length) {
  if (max_length > 0) {
    const std::int64_t room = max_length - (b.empty() ? 2 : 3);
    if (room < 0)
      throw usage_error("a maximal length of {} has no room for special tokens", max_length);
    const auto size_a = static_cast<std::int64_t>(a.size());
    const auto size_b = static_cast<std::int64_t>(b.size());
    if (size_a + size_b > room) {
      // The longer one is cut to the length of the shorter one. If both together are still too
      // long, each gets half, and the longer one gets the odd token.
      const std::int64_t shorter = std::min(size_a, size_b);
      std::int64_t keep_shorter = shorter, keep_longer = std::max(shorter, room - shorter);
      if (keep_shorter > room || keep_shorter + keep_longer > room) {
        keep_shorter = b.empty() ? 0 : room / 2;
        keep_longer = room - keep_shorter;
      }
      const bool is_a_longer = size_a > size_b;
      a = a.first(static_cast<std::size_t>(is_a_longer ? keep_longer : keep_shorter));
      b = b.first(static_cast<std::size_t>(is_a_longer ? keep_shorter : keep_longer));
    }
  }
  ModelInput input;
  input.ids.push_back(vocabulary.cls());
  input.ids.insert(input.ids.end(), a.begin(), a.end());
  input.ids.push_back(vocabulary.sep());
  input.segments.assign(input.ids.size(), 0);
  if (!b.empty()) {
    input.ids.insert(input.ids.end(), b.begin(), b.end());
    input.ids.push_back(vocabulary.sep());
    input.segments.resize(input.ids.size(), 1);
  }
  input.mask.assign(input.ids.size(), 1);
  if (max_length > 0) {
    input.ids.resize(static_cast<std::size_t>(max_length), vocabulary.pad());
    input.segments.resize(static_cast<std::size_t>(max_length), 0);
    input.mask.resize(static_cast<std::size_t>(max_length), 0);
  }
  return input;
}

}  // namespace kiln
