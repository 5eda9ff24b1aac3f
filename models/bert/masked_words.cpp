#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/torch.h"
#include "models/bert/bert_objective.h"
#include "models/ngram/ngram.h"

// B samples, L tokens, D width, V vocabulary, K masked places.

namespace kiln {
namespace {

void check_head(const BertObjective& bert) {
  if (!bert.shape().has_mlm_head) throw usage_error("this model predicts no masked words");
}

/// Samples of a micro-batch without the copies that fill it up, on the host and masked.
Batch prepare_rows(const BertObjective& bert, const Batch& filled, std::int64_t count,
                   std::uint64_t seed) {
  Batch batch = filled;
  batch.num_samples = count;
  for (auto& [name, tensor] : batch.tensors) {
    tensor = tensor.narrow(0, 0, count).contiguous();
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

AddOneUnigram count_unigrams(const SampleReader& data, std::int64_t count,
                             std::int64_t vocab_size) {
  AddOneUnigram unigram(vocab_size);
  constexpr std::int64_t kRows = 256;
  for (std::int64_t begin = 0; begin < count; begin += kRows) {
    const Batch batch = data.read(begin, std::min(begin + kRows, count));
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

class MaskedWords final : public Measurement {
 public:
  MaskedWords(BertObjective& bert, const MeasurementSetup& setup)
      : bert_(bert), seed_(setup.seed), device_(setup.device) {
    check_head(bert);
    if (setup.train_data == nullptr) return;
    unigram_ = count_unigrams(*setup.train_data, setup.train_count, bert.shape().vocab_size);
  }

  std::int64_t num_sums(int) const override { return kNumColumns; }

  at::Tensor sums(int, Batch filled, std::int64_t count) override {
    const Batch batch = prepare_rows(bert_, filled, count, seed_);
    const at::Tensor kind = filled.at("kind").narrow(0, 0, count).contiguous();
    const AtPlaces plain = run(bert_, batch, device_);
    const AtPlaces shuffled = run(bert_, shuffle_context(batch, kind, seed_), device_);
    const at::Tensor is_hidden = batch.at("input_ids")
                                     .reshape({-1})
                                     .index_select(0, batch.at("masked_place"))
                                     .eq(bert_.masking().mask_token)
                                     .to(at::kDouble);
    at::Tensor row = at::zeros({kNumColumns}, at::kDouble);
    const auto add = [&](Column at_all, Column at_hidden, const at::Tensor& values) {
      row[at_all] = values.sum();
      row[at_hidden] = values.mul(is_hidden).sum();
    };
    add(kMasked, kHidden, at::ones_like(is_hidden));
    add(kLoss, kHiddenLoss, plain.loss);
    add(kShuffled, kHiddenShuffled, shuffled.loss);
    if (unigram_) {
      add(kUnigram, kHiddenUnigram, unigram_losses(*unigram_, batch.at("masked_token")));
    }
    row[kHits] = plain.hit.sum();
    return row;
  }

  void finish_pass(int, const at::Tensor& total) override {
    std::copy_n(total.const_data_ptr<double>(), kNumColumns, total_.begin());
  }

  Figures figures() const override {
    const double masked = std::max(total_[kMasked], 1.0), hidden = std::max(total_[kHidden], 1.0);
    Figures figures = {{"mlm_loss", total_[kLoss] / masked},
                       {"mlm_accuracy", total_[kHits] / masked},
                       {"perplexity", std::exp(total_[kLoss] / masked)},
                       {"shuffled_loss", total_[kShuffled] / masked},
                       {"masked_tokens", total_[kMasked]},
                       {"hidden_loss", total_[kHiddenLoss] / hidden},
                       {"hidden_shuffled_loss", total_[kHiddenShuffled] / hidden}};
    if (!unigram_) return figures;
    figures["unigram_loss"] = total_[kUnigram] / masked;
    figures["hidden_unigram_loss"] = total_[kHiddenUnigram] / hidden;
    return figures;
  }

 private:
  BertObjective& bert_;
  std::uint64_t seed_;
  at::Device device_;
  std::optional<AddOneUnigram> unigram_;
  std::array<double, kNumColumns> total_{};
};

}  // namespace

std::unique_ptr<Measurement> BertObjective::measurement(const std::string& evaluation,
                                                        const MeasurementSetup& setup) {
  if (evaluation != "mlm") return nullptr;
  return std::make_unique<MaskedWords>(*this, setup);
}

at::Tensor BertObjective::word_probabilities(const at::Tensor& tokens,
                                             const std::vector<std::int64_t>& places) {
  check_head(*this);
  const std::int64_t length = tokens.numel();
  if (length > shape().max_positions) {
    throw usage_error("the text has {} tokens, the model takes {}", length, shape().max_positions);
  }
  const at::NoGradGuard no_grad;
  const at::Device device = network_->word_embeddings.device();
  DropoutStream none;
  Bert::Input input;
  input.tokens = tokens.unsqueeze(0).to(device);
  input.position = at::arange(length, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
  const at::Tensor x = network_->encode(input, none)[0];  // [L, D]
  std::vector<at::Tensor> rows;
  for (const std::int64_t place : places) {
    rows.push_back(network_->mlm_logits(x[place]).to(at::kFloat).softmax(-1));
  }
  return at::stack(rows).cpu();
}

}  // namespace kiln
