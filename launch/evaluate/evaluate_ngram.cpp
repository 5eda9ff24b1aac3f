#include "launch/evaluate/evaluate_ngram.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/text/token_stream.h"
#include "launch/run/world.h"
#include "models/ngram/ngram.h"

namespace kiln {
namespace {

using Sentence = std::vector<std::int32_t>;
constexpr std::array kOrders = {2, 3, 5};
constexpr int kAddKOrder = 3;
constexpr std::array kAdded = {1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4};
constexpr Discounts kFallback = {0.5, 1.0, 1.5};

/// Hands the sentences of a dataset to `use`: of each document the part that is this rank's.
template <typename Use>
void for_each_sentence(const TokenStream& stream, std::int64_t rank, std::int64_t ranks,
                       const Use& use) {
  for (std::int64_t number = 0; number < stream.num_shards(); ++number) {
    const auto shard = stream.dataset().shard(number);
    const auto documents = stream.documents(number);
    for (std::int64_t document = 0; document + 1 < std::ssize(documents); ++document) {
      const Range row = shard->row_range("sentences", document);
      std::vector<std::uint32_t> ends(static_cast<std::size_t>(row.size()));
      shard->read_values("sentences", row, ends.data());
      const auto start = static_cast<std::int64_t>(documents[static_cast<std::size_t>(document)]);
      const Range mine = share_of(row.size(), rank, ranks);
      for (std::int64_t i = mine.begin; i < mine.end; ++i) {
        const std::int64_t begin = i == 0 ? 1 : ends[static_cast<std::size_t>(i - 1)];
        const std::int64_t end = ends[static_cast<std::size_t>(i)];
        std::vector<std::int64_t> tokens(static_cast<std::size_t>(end - begin));
        stream.read(number, {start + begin, start + end}, tokens.data());
        use(Sentence(tokens.begin(), tokens.end()));
      }
    }
  }
}

/// Everybody's values one after the other, on every rank.
std::vector<std::int64_t> gather(const std::vector<std::int64_t>& mine,
                                 Communicator& communicator) {
  const std::int64_t ranks = communicator.size();
  const at::Tensor sizes = at::empty({ranks}, at::kLong);
  communicator.all_gather(at::tensor({std::ssize(mine)}, at::kLong), sizes).wait();
  const std::int64_t most = std::max<std::int64_t>(sizes.max().item<std::int64_t>(), 1);
  const at::Tensor padded = at::zeros({most}, at::kLong);
  std::copy(mine.begin(), mine.end(), padded.data_ptr<std::int64_t>());
  const at::Tensor all = at::empty({ranks * most}, at::kLong);
  communicator.all_gather(padded, all).wait();
  std::vector<std::int64_t> joined;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const auto* begin = all.const_data_ptr<std::int64_t>() + rank * most;
    joined.insert(joined.end(), begin, begin + sizes[rank].item<std::int64_t>());
  }
  return joined;
}

NgramCounter count_together(const TokenStream& stream, int order, Communicator& communicator) {
  NgramCounter own(order);
  for_each_sentence(stream, communicator.rank(), communicator.size(),
                    [&](const Sentence& sentence) { own.add_sentence(sentence); });
  if (communicator.size() == 1) return own;
  NgramCounter all(order);
  // Slice by slice of the n-grams, so that what travels at a time stays small.
  constexpr std::int64_t kSlices = 16;
  for (std::int64_t slice = 0; slice < kSlices; ++slice) {
    all.add_rows(gather(own.rows(slice, kSlices), communicator));
  }
  return all;
}

void add_figures(nlohmann::json& result, const std::string& name, const TextScore& score) {
  result[name + "_perplexity"] = score.perplexity();
  result[name + "_perplexity_known"] = score.perplexity_of_known();
  result[name + "_loss"] = std::log(score.perplexity());
}

TextScore score_unigram(const NgramCounter& counts, const TokenStream& test) {
  // The end of a sentence is one more word, behind those of the vocabulary.
  const std::int64_t end = test.tokenizer().vocabulary().size();
  AddOneUnigram model(end + 1);
  for (const auto& [gram, count] : counts.counts(1)) {
    if (gram.words[0] >= 0) model.add(gram.words[0], count);
    if (gram.words[0] == Gram::kEnd) model.add(end, count);
  }
  TextScore score;
  for_each_sentence(test, 0, 1, [&](const Sentence& sentence) {
    for (const std::int32_t word : sentence) score.log_probability += model.log_probability(word);
    score.log_probability += model.log_probability(end);
    score.words += std::ssize(sentence);
    ++score.sentences;
  });
  return score;
}

TextScore score_of(const NgramModel& model, const TokenStream& test) {
  TextScore score;
  for_each_sentence(test, 0, 1,
                    [&](const Sentence& sentence) { score_sentence(model, sentence, score); });
  return score;
}

/// With the k that does best on the test itself: what add-k could reach at most.
void add_best_add_k(nlohmann::json& result, const NgramCounter& counts, const TokenStream& test) {
  TextScore best;
  for (const double k : kAdded) {
    const TextScore score = score_of(AddK(counts, k), test);
    if (best.words > 0 && score.log_probability <= best.log_probability) continue;
    best = score;
    result["add_k"] = k;
  }
  add_figures(result, fmt::format("add_k_{}", counts.order()), best);
}

CommandResult evaluate_in(World& world, const TokenStream& train, const TokenStream& test) {
  nlohmann::json result = {{"evaluation", "ngram"}};
  for (const int order : kOrders) {
    const NgramCounter counts = count_together(train, order, world.communicator());
    if (world.rank() != 0) continue;
    if (order == kOrders.front()) {
      const TextScore unigram = score_unigram(counts, test);
      add_figures(result, "unigram", unigram);
      result["tokens"] = unigram.words;
      result["sentences"] = unigram.sentences;
    }
    if (order == kAddKOrder) add_best_add_k(result, counts, test);
    const TextScore score = score_of(KneserNey(counts, kFallback), test);
    add_figures(result, fmt::format("kneser_ney_{}", order), score);
    result["unknown_tokens"] = score.unknown;
  }
  if (world.rank() != 0) return {};
  for (const auto& [name, value] : result.items()) fmt::print("{:28} {}\n", name, value.dump());
  return {ExitCode::kDone, result};
}

}  // namespace

CommandResult evaluate_ngram(const TargetArgs& args) {
  const std::filesystem::path path = args.path;
  const bool is_run = std::filesystem::exists(path / "recipe.toml");
  RecipeReader reader = is_run ? RecipeReader::from_file(path / "recipe.toml", args.overrides)
                               : RecipeReader::from_text("", "command line", args.overrides);
  EvalOptions options;
  reader.read("eval", options);
  if (options.path.empty()) throw usage_error("eval.path is missing: the text to evaluate on");
  const std::string counted = is_run ? reader.peek("data", "path", "") : args.path;
  const TokenStream train(std::make_shared<const Dataset>(counted));
  const TokenStream test(std::make_shared<const Dataset>(options.path));
  if (train.tokenizer().hash() != test.tokenizer().hash()) {
    throw data_error(
        "'{}' and '{}' were made with different tokenizers; import both with the same "
        "vocabulary",
        counted, options.path);
  }
  return run_in_world(600, [&](World& world) { return evaluate_in(world, train, test); });
}

}  // namespace kiln
