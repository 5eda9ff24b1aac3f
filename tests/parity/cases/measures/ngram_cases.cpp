#include <fmt/format.h>
#include <zlib.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "models/ngram/arpa.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

using Sentence = std::vector<std::int32_t>;

constexpr Discounts kFallback = {0.5, 1.0, 1.5};
constexpr Bound kLog10{1e-5, 0.0};
constexpr Bound kScore{1e-3, 0.0};
constexpr Bound kRelative{0.0, 1e-5};

/// Words numbered as they come.
class Words {
 public:
  std::int32_t number(const std::string& word) {
    const auto [found, is_new] = numbers_.try_emplace(word, std::ssize(spellings_));
    if (is_new) spellings_.push_back(word);
    return found->second;
  }
  const std::string& spelling(std::int32_t word) const {
    return spellings_[static_cast<std::size_t>(word)];
  }

 private:
  std::map<std::string, std::int32_t> numbers_;
  std::vector<std::string> spellings_;
};

std::vector<Sentence> read_sentences(const std::filesystem::path& path, Words& words) {
  std::ifstream in(path);
  std::vector<Sentence> sentences;
  for (std::string line; std::getline(in, line);) {
    std::istringstream stream(line);
    Sentence sentence;
    for (std::string word; stream >> word;) sentence.push_back(words.number(word));
    sentences.push_back(std::move(sentence));
  }
  return sentences;
}

/// Plain or compressed: gzread reads both.
BackoffModel read_stored(const std::filesystem::path& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw data_error("{}: cannot open", path.string());
  std::string text, piece(1 << 16, '\0');
  for (int count = 0;
       (count = gzread(file, piece.data(), static_cast<unsigned>(piece.size()))) > 0;) {
    text.append(piece, 0, static_cast<std::size_t>(count));
  }
  gzclose(file);
  std::istringstream in(text);
  return read_arpa(in, path.string());
}

KneserNey fit(const std::vector<Sentence>& sentences, int order) {
  NgramCounter counts(order);
  for (const Sentence& sentence : sentences) counts.add_sentence(sentence);
  return KneserNey(counts, kFallback);
}

/// The stored file's n-grams have the log10 of ours, and there are as many.
void compare_models(const std::string& name, const BackoffModel& ours, const BackoffModel& stored,
                    Words& words, Report& report) {
  for (int n = 1; n <= stored.order(); ++n) {
    double worst = 0.0;
    std::int64_t missing = 0;
    for (const auto& [gram, entry] : stored.entries(n)) {
      Gram own;
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        const std::int32_t word = gram.words[i];
        own.words[i] = word < 0 ? word : words.number(stored.spelling(word));
      }
      const auto found = ours.entries(n).find(own);
      if (found == ours.entries(n).end()) {
        ++missing;
        continue;
      }
      worst = std::max(worst, std::abs(found->second.log10_p - entry.log10_p));
      worst = std::max(worst, std::abs(found->second.log10_backoff - entry.log10_backoff));
    }
    const bool is_same = missing == 0 && ours.entries(n).size() == stored.entries(n).size();
    report.expect(is_same,
                  fmt::format("{}: {} {}-grams, stored {}, of which {} are not ours", name,
                              ours.entries(n).size(), n, stored.entries(n).size(), missing));
    report.compare_value(fmt::format("{}: log10 of {}-grams", name, n), worst, 0.0, kLog10);
  }
}

void compare_discounts(const std::string& name, const KneserNey& model,
                       const nlohmann::json& discounts, Report& report) {
  for (int n = 1; n <= model.order(); ++n) {
    for (std::size_t j = 0; j < 3; ++j) {
      report.compare_value(fmt::format("{}: D{} of {}-grams", name, j + 1, n),
                           model.discounts(n)[j],
                           discounts[static_cast<std::size_t>(n - 1)][j].get<double>(), kRelative);
    }
  }
}

/// Sentence by sentence, by back-off from the listed n-grams.
void compare_scores(const Case& reference, int order, const BackoffModel& model,
                    const std::vector<Sentence>& test, Report& report) {
  std::ifstream in(reference.dir / fmt::format("order{}.scores.tsv", order));
  TextScore total;
  double worst = 0.0;
  for (const Sentence& sentence : test) {
    double log10_p = 0.0;
    std::int64_t unknown = 0;
    in >> log10_p >> unknown;
    TextScore score;
    score_sentence(model, sentence, score);
    worst = std::max(worst, std::abs(score.log_probability / std::log(10.0) - log10_p));
    report.expect(score.unknown == unknown, fmt::format("order {}: {} unknown words, stored {}",
                                                        order, score.unknown, unknown));
    score_sentence(model, sentence, total);
  }
  report.compare_value(fmt::format("order {}: log10 of sentences", order), worst, 0.0, kScore);
  const nlohmann::json& info = reference.info.at("models").at(std::to_string(order));
  report.compare_value(fmt::format("order {}: perplexity", order), total.perplexity(),
                       info.at("perplexity_with_unknown").get<double>(), kRelative);
  report.compare_value(fmt::format("order {}: perplexity without unknown words", order),
                       total.perplexity_of_known(),
                       info.at("perplexity_without_unknown").get<double>(), kRelative);
}

bool is_ngram(const Case& reference) {
  return reference.info.contains("models") && reference.info.contains("orders");
}

void run_ngram(Case& reference, Report& report) {
  Words words;
  const std::vector<Sentence> train = read_sentences(reference.dir / "train.txt", words),
                              toy = read_sentences(reference.dir / "toy.txt", words),
                              test = read_sentences(reference.dir / "test.txt", words);
  const auto spell = [&](std::int32_t word) { return words.spelling(word); };
  for (const int order : reference.info.at("orders").get<std::vector<int>>()) {
    const std::string name = fmt::format("order {}", order);
    const KneserNey model = fit(train, order);
    const BackoffModel listed = model.backoff_model(spell);
    compare_models(name, listed, read_stored(reference.dir / fmt::format("order{}.arpa.gz", order)),
                   words, report);
    compare_discounts(
        name, model, reference.info.at("models").at(std::to_string(order)).at("discounts"), report);
    compare_scores(reference, order, listed, test, report);
  }
  for (const int order : {2, 3}) {
    const std::string name = fmt::format("toy of order {}", order);
    compare_models(name, fit(toy, order).backoff_model(spell),
                   read_stored(reference.dir / fmt::format("toy.order{}.arpa", order)), words,
                   report);
  }
}

}  // namespace

Runners ngram_runners() { return {{.name = "kn", .fits = is_ngram, .run = run_ngram}}; }

}  // namespace kiln::parity
