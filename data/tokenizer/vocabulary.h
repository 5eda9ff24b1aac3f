#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kiln {

/// A WordPiece vocabulary: pieces by id, and longest-match search.
///
/// vocab.txt holds one piece per line, UTF-8; the line number, counted from 0, is the id. Pieces
/// that continue a word start with "##". [PAD], [UNK], [CLS], [SEP] and [MASK] must be present.
///
/// Thread safety: const members may be called from several threads.
class Vocabulary {
 public:
  /// Throws Error(kData) for an empty list, a piece that occurs twice, or a missing special token.
  /// `origin` names the source in messages.
  Vocabulary(std::vector<std::string> pieces, const std::string& origin);
  static Vocabulary load(const std::filesystem::path& path);
  void save(const std::filesystem::path& path) const;

  std::int32_t size() const { return static_cast<std::int32_t>(pieces_.size()); }
  const std::string& piece(std::int32_t id) const {
    return pieces_.at(static_cast<std::size_t>(id));
  }
  const std::vector<std::string>& pieces() const { return pieces_; }
  /// -1 if there is no such piece.
  std::int32_t find(std::string_view piece) const;

  std::int32_t pad() const { return specials_[0]; }
  std::int32_t unk() const { return specials_[1]; }
  std::int32_t cls() const { return specials_[2]; }
  std::int32_t sep() const { return specials_[3]; }
  std::int32_t mask() const { return specials_[4]; }
  bool is_special(std::int32_t id) const;
  bool is_continuation(std::int32_t id) const { return piece(id).starts_with("##"); }
  static constexpr std::array<std::string_view, 5> kSpecials = {"[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                                "[MASK]"};

  /// Cuts `word` greedily into the longest pieces there are and appends their ids; one unk() if
  /// some part has no piece.
  void match(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  /// Bytewise trie in one open-addressing table: (node, byte) -> child. Node 0 starts words, node 1
  /// continues them.
  struct Edge {
    std::uint32_t key = kEmpty;  // node << 8 | byte
    std::uint32_t child = 0;
  };
  static constexpr std::uint32_t kEmpty = 0xFFFFFFFF;
  std::size_t slot(std::uint32_t key) const { return key * 0x9E3779B9u >> shift_; }
  std::uint32_t child(std::uint32_t node, unsigned char byte) const;
  void build_trie();

  std::vector<std::string> pieces_;
  std::unordered_map<std::string_view, std::int32_t> ids_;
  std::array<std::int32_t, 5> specials_{};
  std::vector<Edge> edges_;
  std::vector<std::int32_t> node_ids_;
  int shift_ = 0;
};

}  // namespace kiln
