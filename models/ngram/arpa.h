#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/ngram/ngram.h"

namespace kiln {

/// A back-off n-gram model, as ARPA files hold it: log10 p(w | c) for the n-grams listed, and for
/// the others p(w | c) = backoff(c) p(w | c'), c' without its first word; a context that is not
/// listed backs off by 1. Other programs (KenLM, SRILM) read and write the same files.
///
/// lmplz's conventions: <s> has log10 p = 0, since it is never predicted; <unk> takes the place of
/// words that are not listed, and sentences are scored with </s>.
class BackoffModel final : public NgramModel {
 public:
  struct Entry {
    double log10_p = 0.0;
    double log10_backoff = 0.0;
  };
  using Entries = std::unordered_map<Gram, Entry, GramHash>;

  explicit BackoffModel(int order);

  int order() const { return static_cast<int>(entries_.size()); }
  /// n-grams of n = 1 .. order words.
  const Entries& entries(int n) const { return entries_[static_cast<std::size_t>(n - 1)]; }
  void add(int n, const Gram& gram, const Entry& entry) {
    entries_[static_cast<std::size_t>(n - 1)][gram] = entry;
  }
  /// The spelling of a word that is no <s>, </s> or <unk>.
  void set_spelling(std::int32_t word, const std::string& spelling);
  std::string spelling(std::int32_t word) const;
  /// Gram::kUnknown for words that are not listed.
  std::int32_t word(std::string_view spelling) const;

  bool knows(std::int32_t word) const override;
  double probability(std::int32_t word, std::span<const std::int32_t> context) const override;

  /// n-grams sorted by their words' numbers: the same model gives the same bytes.
  void write(const std::filesystem::path& path) const;

 private:
  std::vector<Entries> entries_;
  std::unordered_map<std::int32_t, std::string> spellings_;
  std::unordered_map<std::string, std::int32_t> words_;
};

/// Words are numbered as they come. Throws Error(kData), naming the line, for what is no ARPA file,
/// for numbers of n-grams that its head does not announce, and for orders above Gram::kMaxOrder.
BackoffModel read_arpa(const std::filesystem::path& path);
/// `name` is for messages.
BackoffModel read_arpa(std::istream& in, const std::string& name);

}  // namespace kiln
