#include "models/ngram/arpa.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

#include "core/base/error.h"

namespace kiln {
namespace {

constexpr std::pair<std::string_view, std::int32_t> kMarks[] = {{"<s>", Gram::kBegin},
                                                                {"</s>", Gram::kEnd},
                                                                {"<unk>", Gram::kUnknown},
                                                                {"<UNK>", Gram::kUnknown}};

Gram gram_of(std::span<const std::int32_t> words) {
  Gram gram;
  std::ranges::copy(words, gram.words.begin());
  return gram;
}

/// A line split at blanks and tabs.
std::vector<std::string_view> split(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r";
  std::vector<std::string_view> words;
  for (std::size_t begin = line.find_first_not_of(kBlanks); begin != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    begin = line.find_first_not_of(kBlanks, end);
  }
  return words;
}

class Reader {
 public:
  Reader(std::istream& in, std::string name) : in_(in), name_(std::move(name)) {}

  BackoffModel read() {
    read_sizes();
    BackoffModel model(static_cast<int>(sizes_.size()));
    for (int n = 1; n <= model.order(); ++n) read_section(model, n);
    expect("\\end\\");
    return model;
  }

 private:
  /// The next line that is not empty.
  bool next() {
    while (std::getline(in_, line_)) {
      ++number_;
      if (!split(line_).empty()) return true;
    }
    return false;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw data_error("{}, line {}: {}; an ARPA file was expected", name_, number_, what);
  }
  void expect(const std::string& mark) {
    if (!next() || split(line_).front() != mark) fail("'" + mark + "' is missing");
  }
  template <typename Number>
  Number number(std::string_view text) const {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
      fail(fmt::format("'{}' is no number", text));
    }
    return value;
  }

  void read_sizes() {
    while (next() && split(line_).front() != "\\data\\") {
    }
    if (!in_) fail("'\\data\\' is missing");
    while (next()) {
      const auto words = split(line_);
      if (words.front() != "ngram") break;  // \1-grams:
      const std::size_t equals = line_.find('=');
      if (words.size() < 2 || equals == std::string::npos) fail("'ngram N=COUNT' is misspelt");
      const auto number_of = split(std::string_view(line_).substr(equals + 1));
      if (number_of.size() != 1) fail("'ngram N=COUNT' is misspelt");
      sizes_.push_back(number<std::int64_t>(number_of.front()));
    }
    if (sizes_.empty() || sizes_.size() > Gram::kMaxOrder) {
      fail(fmt::format("order {}; this program reads 1 to {}", sizes_.size(), Gram::kMaxOrder));
    }
    is_read_ahead_ = true;
  }

  void read_section(BackoffModel& model, int n) {
    const std::string mark = fmt::format("\\{}-grams:", n);
    if (!is_read_ahead_ && !next()) fail("'" + mark + "' is missing");
    is_read_ahead_ = false;
    if (split(line_).front() != mark) fail("'" + mark + "' is missing");
    const auto length = static_cast<std::size_t>(n);
    for (std::int64_t i = 0; i < sizes_[length - 1]; ++i) {
      if (!next()) fail(fmt::format("{} of {} {}-grams", i, sizes_[length - 1], n));
      const auto words = split(line_);
      if (words.size() != length + 1 && words.size() != length + 2) {
        fail(fmt::format("{} columns; {} {}-grams are announced, of {} or {} columns each",
                         words.size(), sizes_[length - 1], n, n + 1, n + 2));
      }
      Gram gram;
      for (std::size_t k = 0; k < length; ++k) gram.words[k] = word(model, words[k + 1], n);
      model.add(n, gram,
                {.log10_p = number<double>(words[0]),
                 .log10_backoff = words.size() > length + 1 ? number<double>(words.back()) : 0.0});
    }
  }

  std::int32_t word(BackoffModel& model, std::string_view spelling, int n) {
    for (const auto& [mark, id] : kMarks) {
      if (spelling == mark) return id;
    }
    const std::int32_t known = model.word(spelling);
    if (known != Gram::kUnknown) return known;
    if (n > 1) fail(fmt::format("'{}' is not among the unigrams", spelling));
    model.set_spelling(num_words_, std::string(spelling));
    return num_words_++;
  }

  std::istream& in_;
  std::string name_;
  std::string line_;
  std::int64_t number_ = 0;
  std::vector<std::int64_t> sizes_;
  bool is_read_ahead_ = false;
  std::int32_t num_words_ = 0;
};

}  // namespace

BackoffModel::BackoffModel(int order) : entries_(static_cast<std::size_t>(order)) {}

void BackoffModel::set_spelling(std::int32_t word, const std::string& spelling) {
  spellings_[word] = spelling;
  words_[spelling] = word;
}

std::string BackoffModel::spelling(std::int32_t word) const {
  for (const auto& [mark, id] : kMarks) {
    if (word == id) return std::string(mark);
  }
  return spellings_.at(word);
}

std::int32_t BackoffModel::word(std::string_view spelling) const {
  const auto found = words_.find(std::string(spelling));
  return found == words_.end() ? Gram::kUnknown : found->second;
}

bool BackoffModel::knows(std::int32_t word) const {
  return word != Gram::kUnknown && entries_[0].contains(gram_of(std::array{word}));
}

double BackoffModel::probability(std::int32_t word, std::span<const std::int32_t> context) const {
  context = context.last(std::min(context.size(), entries_.size() - 1));
  double log10_backoff = 0.0;
  for (;; context = context.subspan(1)) {
    Gram gram = gram_of(context);
    gram.words[context.size()] = word;
    const auto found = entries_[context.size()].find(gram);
    if (found != entries_[context.size()].end()) {
      return std::pow(10.0, log10_backoff + found->second.log10_p);
    }
    if (context.empty()) return 0.0;  // no <unk> either
    const Entries& shorter = entries_[context.size() - 1];
    const auto history = shorter.find(gram_of(context));
    if (history != shorter.end()) log10_backoff += history->second.log10_backoff;
  }
}

void BackoffModel::write(const std::filesystem::path& path) const {
  std::ofstream out(path);
  out << "\\data\\\n";
  for (int n = 1; n <= order(); ++n) out << "ngram " << n << "=" << entries(n).size() << "\n";
  for (int n = 1; n <= order(); ++n) {
    std::vector<std::pair<Gram, Entry>> sorted(entries(n).begin(), entries(n).end());
    std::ranges::sort(sorted, {}, [](const auto& entry) { return entry.first; });
    out << "\n\\" << n << "-grams:\n";
    for (const auto& [gram, entry] : sorted) {
      out << fmt::format("{:.9g}\t", entry.log10_p);
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        out << (i > 0 ? " " : "") << spelling(gram.words[i]);
      }
      if (n < order()) out << fmt::format("\t{:.9g}", entry.log10_backoff);
      out << "\n";
    }
  }
  out << "\n\\end\\\n";
  out.flush();
  if (!out) throw data_error("{}: cannot write the model", path.string());
}

BackoffModel read_arpa(std::istream& in, const std::string& name) {
  return Reader(in, name).read();
}

BackoffModel read_arpa(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw data_error("{}: cannot read the model", path.string());
  return read_arpa(in, path.string());
}

}  // namespace kiln
