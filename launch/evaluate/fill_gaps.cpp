#include <fmt/format.h>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/tokenizer/tokenizer.h"
#include "launch/evaluate/evaluate.h"
#include "launch/trained/tokenizer_files.h"
#include "models/capabilities.h"

namespace kiln {
namespace {

/// One line, and the same for the result.
nlohmann::json best_words(const at::Tensor& probabilities, const Vocabulary& vocabulary) {
  constexpr std::int64_t kNumWords = 5;
  const auto [p, best] = probabilities.topk(kNumWords);
  nlohmann::json words = nlohmann::json::array();
  for (std::int64_t j = 0; j < kNumWords; ++j) {
    const std::string& piece =
        vocabulary.piece(static_cast<std::int32_t>(best[j].item<std::int64_t>()));
    const double probability = p[j].item<double>();
    fmt::print("  {} {:.3f}", piece, probability);
    words.push_back({{"word", piece}, {"probability", probability}});
  }
  fmt::print("\n");
  return words;
}

}  // namespace

CommandResult fill_gaps(const TrainedModelArgs& args, const std::string& text) {
  TrainedModelArgs without_data = args;
  without_data.reads_data = false;
  const TrainedModel model = TrainedModel::open(without_data);
  auto& predictor = model.as<WordPredictor>("predicts no masked words");
  const ModelTokenizer tokenizer = tokenizer_of(model);
  const Vocabulary& vocabulary = tokenizer.tokenizer->vocabulary();
  const ModelInput encoded =
      make_input(vocabulary, TokenEncoder(*tokenizer.tokenizer).encode(text), {}, 0);
  const std::vector<std::int64_t> ids(encoded.ids.begin(), encoded.ids.end());
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < std::ssize(ids); ++i) {
    if (ids[static_cast<std::size_t>(i)] == vocabulary.mask()) places.push_back(i);
  }
  if (places.empty()) throw usage_error("--text holds no [MASK] to fill in");
  const at::Tensor probabilities =
      predictor.word_probabilities(at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong), places);
  nlohmann::json predictions = nlohmann::json::array();
  for (std::int64_t i = 0; i < probabilities.size(0); ++i) {
    fmt::print("[MASK] {}:", i + 1);
    predictions.push_back(best_words(probabilities[i], vocabulary));
  }
  return {ExitCode::kDone, {{"predictions", predictions}, {"of", model.name}}};
}

}  // namespace kiln
