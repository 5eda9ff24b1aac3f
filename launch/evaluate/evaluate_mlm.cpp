#include "launch/evaluate/evaluate_mlm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/tokenizer/tokenizer.h"
#include "launch/evaluate/features.h"
#include "launch/trained/text_model.h"
#include "models/bert/bert_objective.h"
#include "models/ngram/ngram.h"

namespace kiln {
namespace {

BertObjective& as_bert(Objective& objective) {
  auto* bert = dynamic_cast<BertObjective*>(&objective);
  if (!bert || !bert->shape().has_mlm_head) {
    throw usage_error("this model predicts no masked args");
  }
  return *bert;
}

/// Samples of a micro-batch without the copies that fill it up, on the host and masked.
Batch prepare_rows(const BertObjective& bert, const Batch& filled, Range range,
                   std::uint64_t seed) {
  Batch batch = filled;
  batch.first_position = range.begin;
  batch.num_samples = range.size();
  for (auto& [name, tensor] : batch.tensors) {
    tensor = tensor.cpu().narrow(0, 0, range.size()).contiguous();
  }
  bert.prepare(batch, seed);
  return batch;
}

/// The same batch with all words that are not masked exchanged among each other.
Batch shuffle_context(const Batch& batch, const at::Tensor& kind, std::uint64_t seed) {
  at::Tensor is_free = kind.reshape({-1}).ne(0);
  is_free.index_fill_(0, batch.at("masked_place"), false);
  const at::Tensor places = is_free.nonzero().squeeze(1);
  at::Tensor noise = at::empty({places.size(0)}, at::kFloat);
  fill_uniform(Philox(seed, Purpose::kEvaluation, batch.first_position), noise.data_ptr<float>(),
               noise.numel());
  Batch shuffled = batch;
  const at::Tensor ids = batch.at("input_ids").reshape({-1}).clone();
  ids.index_copy_(0, places, ids.index_select(0, places.index_select(0, noise.argsort())));
  shuffled.tensors["input_ids"] = ids.view(batch.at("input_ids").sizes());
  return shuffled;
}

/// Of each masked place, on the host in double precision.
struct AtPlaces {
  at::Tensor loss;  // [K]
  at::Tensor hit;   // [K] 1 where the likeliest word is the right one
};

AtPlaces run(BertObjective& bert, Batch batch, at::Device device) {
  constexpr std::int64_t kRows = 1024;  // bounds the scores held at a time, [kRows, V]
  const at::NoGradGuard no_grad;
  DropoutStream none;
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device);
  const at::Tensor x = bert.network().encode_rows(bert_input(batch, "input_ids"),
                                                  batch.at("masked_place"), none);  // [K, D]
  std::vector<at::Tensor> losses = {at::empty({0}, x.options().dtype(at::kFloat))};
  std::vector<at::Tensor> hits = {at::empty({0}, x.options().dtype(at::kBool))};
  for (std::int64_t begin = 0; begin < x.size(0); begin += kRows) {
    const std::int64_t rows = std::min(kRows, x.size(0) - begin);
    const at::Tensor scores = bert.network().mlm_logits(x.narrow(0, begin, rows)).to(at::kFloat);
    const at::Tensor words = batch.at("masked_token").narrow(0, begin, rows);
    losses.push_back(at::cross_entropy_loss(scores, words, {}, at::Reduction::None));
    hits.push_back(scores.argmax(1).eq(words));
  }
  return {at::cat(losses).to(at::kCPU, at::kDouble), at::cat(hits).to(at::kCPU, at::kDouble)};
}

AddOneUnigram count_unigrams(const OpenedData& data, std::int64_t max_samples,
                             std::int64_t vocab_size) {
  AddOneUnigram unigram(vocab_size);
  const std::int64_t all = data.source->num_samples();
  const std::int64_t count = max_samples > 0 ? std::min(max_samples, all) : all;
  constexpr std::int64_t kRows = 256;
  for (std::int64_t begin = 0; begin < count; begin += kRows) {
    const std::int64_t rows = std::min(kRows, count - begin);
    Batch batch = data.source->allocate(rows);
    std::vector<std::int64_t> ids(static_cast<std::size_t>(rows));
    for (std::int64_t i = 0; i < rows; ++i) ids[static_cast<std::size_t>(i)] = begin + i;
    data.source->read(ids, begin, batch, 0);
    const auto* token = batch.at("tokens").const_data_ptr<std::int64_t>();
    const auto* kind = batch.at("kind").const_data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < batch.at("tokens").numel(); ++i) {
      if (kind[i] != 0) unigram.add(token[i]);
    }
  }
  return unigram;
}

at::Tensor unigram_losses(const AddOneUnigram& unigram, const at::Tensor& tokens) {
  const at::Tensor losses = at::empty({tokens.numel()}, at::kDouble);
  const auto* token = tokens.const_data_ptr<std::int64_t>();
  auto* loss = losses.data_ptr<double>();
  for (std::int64_t i = 0; i < tokens.numel(); ++i) loss[i] = -unigram.log_probability(token[i]);
  return losses;
}

/// Sums over masked places; kHidden...: over those of them that show [MASK].
enum Column {
  kMasked,
  kLoss,
  kHits,
  kShuffled,
  kUnigram,
  kHidden,
  kHiddenLoss,
  kHiddenShuffled,
  kHiddenUnigram,
  kNumColumns
};

Figures figures_of(const at::Tensor& sums, bool has_unigram) {
  std::array<double, kNumColumns> total{};
  const auto* value = sums.const_data_ptr<double>();
  for (std::int64_t i = 0; i < sums.numel(); ++i) {
    total[static_cast<std::size_t>(i % kNumColumns)] += value[i];
  }
  const double masked = std::max(total[kMasked], 1.0), hidden = std::max(total[kHidden], 1.0);
  Figures figures = {{"mlm_loss", total[kLoss] / masked},
                     {"mlm_accuracy", total[kHits] / masked},
                     {"perplexity", std::exp(total[kLoss] / masked)},
                     {"shuffled_loss", total[kShuffled] / masked},
                     {"masked_tokens", total[kMasked]},
                     {"hidden_loss", total[kHiddenLoss] / hidden},
                     {"hidden_shuffled_loss", total[kHiddenShuffled] / hidden}};
  if (!has_unigram) return figures;
  figures["unigram_loss"] = total[kUnigram] / masked;
  figures["hidden_unigram_loss"] = total[kHiddenUnigram] / hidden;
  return figures;
}

}  // namespace

Figures evaluate_mlm(const Evaluated& evaluated) {
  BertObjective& bert = as_bert(evaluated.objective);
  const auto seed = static_cast<std::uint64_t>(evaluated.recipe.run.seed);
  const std::int64_t all = evaluated.data.source->num_samples();
  const std::int64_t most = evaluated.recipe.eval.max_samples;
  const std::int64_t count = most > 0 ? std::min(most, all) : all;
  std::optional<AddOneUnigram> unigram;
  if (evaluated.train_data) {
    unigram = count_unigrams(*evaluated.train_data, evaluated.recipe.eval.train_samples,
                             bert.shape().vocab_size);
  }
  // A row per micro-batch: ranks fill in theirs, and rows add up in order whatever the ranks.
  const at::Tensor sums = at::zeros({count, kNumColumns}, at::kDouble);
  for_each_share(
      *evaluated.data.source, count, evaluated.communicator, evaluated.device,
      evaluated.num_threads, [&](Batch& filled, Range range) {
        const Batch batch = prepare_rows(bert, filled, range, seed);
        const at::Tensor kind = filled.at("kind").cpu().narrow(0, 0, range.size()).contiguous();
        const AtPlaces plain = run(bert, batch, evaluated.device);
        const AtPlaces shuffled = run(bert, shuffle_context(batch, kind, seed), evaluated.device);
        const at::Tensor is_hidden = batch.at("input_ids")
                                         .reshape({-1})
                                         .index_select(0, batch.at("masked_place"))
                                         .eq(bert.masking().mask_token)
                                         .to(at::kDouble);
        double* row = sums.data_ptr<double>() + filled.micro_batch * kNumColumns;
        const auto add = [&](Column at_all, Column at_hidden, const at::Tensor& values) {
          row[at_all] = values.sum().item<double>();
          row[at_hidden] = values.mul(is_hidden).sum().item<double>();
        };
        add(kMasked, kHidden, at::ones_like(is_hidden));
        add(kLoss, kHiddenLoss, plain.loss);
        add(kShuffled, kHiddenShuffled, shuffled.loss);
        if (unigram) {
          add(kUnigram, kHiddenUnigram, unigram_losses(*unigram, batch.at("masked_token")));
        }
        row[kHits] = plain.hit.sum().item<double>();
      });
  evaluated.communicator.all_reduce(sums).wait();
  Figures figures = figures_of(sums, unigram.has_value());
  figures["samples"] = static_cast<double>(count);
  return figures;
}

CommandResult predict_masked_words(const TargetArgs& args, const std::string& text) {
  constexpr std::int64_t kNumWords = 5;
  const TextModel predictor = open_text_model(args);
  BertObjective& bert = as_bert(*predictor.objective);
  const Vocabulary& vocabulary = predictor.tokenizer->vocabulary();
  const ModelInput encoded =
      make_input(vocabulary, TokenEncoder(*predictor.tokenizer).encode(text), {}, 0);
  const std::vector<std::int64_t> ids(encoded.ids.begin(), encoded.ids.end());
  const auto length = std::ssize(ids);
  if (length > bert.shape().max_positions) {
    throw usage_error("the text has {} tokens, the model takes {}", length,
                      bert.shape().max_positions);
  }
  const at::NoGradGuard no_grad;
  DropoutStream none;
  Bert::Input input;
  input.tokens = at::tensor(at::ArrayRef<std::int64_t>(ids), at::kLong).unsqueeze(0);
  input.position = at::arange(length, at::kLong).unsqueeze(0);
  const at::Tensor x = bert.network().encode(input, none)[0];  // [L, D]
  nlohmann::json predictions = nlohmann::json::array();
  for (std::int64_t i = 0; i < length; ++i) {
    if (ids[static_cast<std::size_t>(i)] != vocabulary.mask()) continue;
    const auto [p, best] =
        bert.network().mlm_logits(x[i]).to(at::kFloat).softmax(-1).topk(kNumWords);
    nlohmann::json words_at = nlohmann::json::array();
    fmt::print("[MASK] {}:", predictions.size() + 1);
    for (std::int64_t j = 0; j < kNumWords; ++j) {
      const std::string& piece =
          vocabulary.piece(static_cast<std::int32_t>(best[j].item<std::int64_t>()));
      const double probability = p[j].item<double>();
      fmt::print("  {} {:.3f}", piece, probability);
      words_at.push_back({{"word", piece}, {"probability", probability}});
    }
    fmt::print("\n");
    predictions.push_back(words_at);
  }
  if (predictions.empty()) throw usage_error("--text holds no [MASK] to fill in");
  return {ExitCode::kDone, {{"predictions", predictions}, {"of", predictor.name}}};
}

}  // namespace kiln
