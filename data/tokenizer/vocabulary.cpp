#include "data/tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "core/base/error.h"
#include "data/store/files.h"
#include "data/tokenizer/text_file.h"
#include "data/tokenizer/utf8.h"

namespace kiln {

Vocabulary::Vocabulary(std::vector<std::string> pieces, const std::string& origin)
    : pieces_(std::move(pieces)) {
  if (pieces_.empty()) throw data_error("{}: the vocabulary is empty", origin);
  ids_.reserve(pieces_.size());
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const auto [found, is_new] = ids_.emplace(pieces_[i], static_cast<std::int32_t>(i));
    if (!is_new) {
      throw data_error("{}: piece '{}' stands on lines {} and {}; every piece must be unique",
                       origin, pieces_[i], found->second + 1, i + 1);
    }
  }
  std::string missing;
  for (std::size_t i = 0; i < kSpecials.size(); ++i) {
    specials_[i] = find(kSpecials[i]);
    if (specials_[i] < 0) missing += fmt::format(" {}", kSpecials[i]);
  }
  if (!missing.empty()) {
    throw data_error(
        "{}: the vocabulary of {} pieces lacks{}. Add each as a line of its own at the end, or "
        "train "
        "one with `kiln tokenizer train`",
        origin, pieces_.size(), missing);
  }
  build_trie();
}

namespace {

/// Without what Unicode calls white space at both ends.
std::string_view trimmed(std::string_view text) {
  constexpr std::array<std::string_view, 25> kBlanks = {
      " ",      "\t",     "\n",     "\v",     "\f",     "\r",     "\u0085", "\u00A0", "\u1680",
      "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007", "\u2008",
      "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};
  for (std::size_t size = text.size() + 1; size != text.size();) {
    size = text.size();
    for (const std::string_view blank : kBlanks) {
      if (text.starts_with(blank)) text.remove_prefix(blank.size());
      if (text.ends_with(blank)) text.remove_suffix(blank.size());
    }
  }
  return text;
}

/// Readers of vocab.txt disagree on what is not a plain line: transformers keeps blanks at the end of
/// one, tokenizers drops them; one ends lines at a lone carriage return, the other does not. A piece
/// of nothing but blanks matches no word with any of them.
void check_piece(std::string_view piece, const std::string& where) {
  std::string copy(piece);
  if (repair_utf8(copy) > 0) throw data_error("{}: '{}' is not UTF-8", where, copy);
  const std::string_view inner = trimmed(piece);
  if ((inner.empty() || inner == piece) && piece.find('\r') == piece.npos) return;
  throw data_error(
      "{}: '{}' begins or ends with a blank, or holds a carriage return: readers of vocabularies "
      "disagree on what piece that is. Remove the blank",
      where, piece);
}

}  // namespace

Vocabulary Vocabulary::load(const std::filesystem::path& path) {
  constexpr std::int64_t kMostBytes = 8 << 20;  // the trie has 24 bits for a place
  std::error_code code;
  if (!std::filesystem::exists(path, code)) {
    throw data_error(
        "{}: cannot open the vocabulary. Name a vocab.txt, or train one with "
        "`kiln tokenizer train`",
        path.string());
  }
  const File file = open_text(path);
  if (file.size_bytes() > kMostBytes) {
    throw data_error("{}: {} bytes are too many for a vocabulary (at most {}): is it a vocab.txt?",
                     path.string(), file.size_bytes(), kMostBytes);
  }
  std::string text(static_cast<std::size_t>(file.size_bytes()), '\0');
  file.read_at(text.data(), std::ssize(text), 0);
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string piece = text.substr(at, end - at);
    if (piece.ends_with('\r')) piece.pop_back();
    check_piece(piece, fmt::format("{}, line {}", path.string(), pieces.size() + 1));
    pieces.push_back(std::move(piece));
    at = end + 1;
  }
  return Vocabulary(std::move(pieces), path.string());
}

void Vocabulary::save(const std::filesystem::path& path) const {
  std::string text;
  for (const std::string& piece : pieces_) text += piece + '\n';
  write_file_atomically(path, text);
}

std::int32_t Vocabulary::find(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? -1 : found->second;
}

bool Vocabulary::is_special(std::int32_t id) const {
  return std::find(specials_.begin(), specials_.end(), id) != specials_.end();
}

void Vocabulary::build_trie() {
  std::size_t num_bytes = 2;
  for (const std::string& piece : pieces_) num_bytes += piece.size();
  const std::size_t capacity = std::bit_ceil(2 * num_bytes);
  shift_ = 32 - std::countr_zero(capacity);
  edges_.assign(capacity, {});
  node_ids_.assign(2, -1);
  for (std::int32_t id = 0; id < size(); ++id) {
    std::string_view piece = pieces_[static_cast<std::size_t>(id)];
    std::uint32_t node = 0;
    if (piece.size() > 2 && piece.starts_with("##")) {
      node = 1;
      piece.remove_prefix(2);
    }
    for (const char byte : piece) {
      const std::uint32_t key = node << 8 | static_cast<unsigned char>(byte);
      std::size_t at = slot(key);
      while (edges_[at].key != kEmpty && edges_[at].key != key) at = (at + 1) & (capacity - 1);
      if (edges_[at].key == kEmpty) {
        edges_[at] = {key, static_cast<std::uint32_t>(node_ids_.size())};
        node_ids_.push_back(-1);
      }
      node = edges_[at].child;
    }
    node_ids_[node] = id;
  }
}

std::uint32_t Vocabulary::child(std::uint32_t node, unsigned char byte) const {
  const std::uint32_t key = node << 8 | byte;
  for (std::size_t at = slot(key);; at = (at + 1) & (edges_.size() - 1)) {
    if (edges_[at].key == key) return edges_[at].child;
    if (edges_[at].key == kEmpty) return 0;
  }
}

void Vocabulary::match(std::string_view word, std::vector<std::int32_t>& ids) const {
  const std::size_t num_before = ids.size();
  std::size_t begin = 0;
  while (begin < word.size()) {
    std::uint32_t node = begin == 0 ? 0 : 1;
    std::int32_t longest = -1;
    std::size_t end = begin;
    for (std::size_t at = begin; at < word.size(); ++at) {
      node = child(node, static_cast<unsigned char>(word[at]));
      if (node == 0) break;
      if (node_ids_[node] >= 0) {
        longest = node_ids_[node];
        end = at + 1;
      }
    }
    if (longest < 0) {
      ids.resize(num_before);
      ids.push_back(unk());
      return;
    }
    ids.push_back(longest);
    begin = end;
  }
}

}  // namespace kiln
