#include "data/tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <fstream>
#include <iterator>

#include "core/base/error.h"

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

Vocabulary Vocabulary::load(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw data_error(
        "{}: cannot open the vocabulary. Name a vocab.txt, or train one with "
        "`kiln tokenizer train`",
        path.string());
  }
  std::vector<std::string> pieces;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    pieces.push_back(line);
  }
  return Vocabulary(std::move(pieces), path.string());
}

void Vocabulary::save(const std::filesystem::path& path) const {
  std::ofstream out(path, std::ios::binary);
  for (const std::string& piece : pieces_) out << piece << '\n';
  out.flush();
  if (!out) throw data_error("{}: cannot write the vocabulary", path.string());
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
