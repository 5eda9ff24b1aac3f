#include "models/bert/bert_objective.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "models/layers/parameters.h"
#include "models/operators/precision.h"

namespace kiln {
namespace {

/// Numbers of the first tokens among the rows of tokens [B, L].
at::Tensor first_tokens(const at::Tensor& tokens) {
  return at::arange(tokens.size(0), tokens.options()).mul_(tokens.size(1));
}

at::Tensor tensor_of(const std::vector<std::int64_t>& values) {
  return at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong);
}

/// Whether some row holds several documents, or padding.
bool needs_mask(const at::Tensor& document) { return document.ne(0).any().item<bool>(); }

}  // namespace

Bert::Input bert_input(const Batch& batch, const char* tokens) {
  Bert::Input input;
  input.tokens = batch.at(tokens);
  input.position = batch.at("position");
  if (batch.tensors.contains("segment")) input.segment = batch.at("segment");
  if (batch.tensors.contains("document")) {
    const at::Tensor& document = batch.at("document");
    input.mask = document.unsqueeze(2).eq(document.unsqueeze(1)).unsqueeze(1);  // [B, 1, L, L]
  }
  return input;
}

at::Tensor mean_of_words(const at::Tensor& x, const Batch& batch) {
  at::Tensor counted = at::ones({x.size(0), x.size(1), 1}, x.options());  // [B, L, 1]
  if (batch.tensors.contains("document")) {
    counted = batch.at("document").ge(0).unsqueeze(2).to(x.scalar_type());
  }
  counted.select(1, 0).zero_();
  return (x * counted).sum(1) / counted.sum(1).clamp_min(1.0);
}

BertObjective::BertObjective(const BertShape& shape, const MaskingOptions& masking,
                             const at::TensorOptions& options)
    : network_(std::make_shared<Bert>(shape, options)), masking_(masking) {}

void BertObjective::initialise(std::uint64_t seed) {
  auto list = parameters(0);
  initialise_bert(list, shape().init, seed);
}

std::vector<Parameter> BertObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  return bert_parameters(*network_);
}

void BertObjective::prepare(Batch& batch, std::uint64_t seed) const {
  const at::Tensor& tokens = batch.at("tokens");  // [B, L]
  const auto B = static_cast<std::size_t>(tokens.size(0));
  const auto L = static_cast<std::size_t>(tokens.size(1));
  const at::Tensor inputs = tokens.clone();
  const auto* document = batch.at("document").const_data_ptr<std::int64_t>();
  const auto* kind = batch.at("kind").const_data_ptr<std::uint8_t>();
  auto* input = inputs.data_ptr<std::int64_t>();
  std::vector<std::int64_t> places, labels;
  for (std::size_t b = 0; b < B; ++b) {
    const std::span<const std::int64_t> row(tokens.const_data_ptr<std::int64_t>() + b * L, L);
    const auto* padding = std::find(document + b * L, document + (b + 1) * L, -1);
    const Philox stream(seed, Purpose::kMask, batch.first_position + static_cast<std::int64_t>(b));
    const Masking masking =
        draw_masking(row, {kind + b * L, L}, padding - (document + b * L), masking_, stream);
    for (std::size_t i = 0; i < masking.places.size(); ++i) {
      const auto place = static_cast<std::size_t>(masking.places[i]);
      places.push_back(static_cast<std::int64_t>(b * L + place));
      labels.push_back(row[place]);
      input[b * L + place] = masking.inputs[i];
    }
  }
  batch.denominators["masked"] = static_cast<double>(places.size());
  batch.tensors["input_ids"] = inputs;
  batch.tensors["masked_place"] = tensor_of(places);
  batch.tensors["masked_token"] = tensor_of(labels);
  if (shape().has_pair_head) batch.denominators["pairs"] = static_cast<double>(B);
  batch.tensors.erase("kind");
  if (!needs_mask(batch.at("document"))) batch.tensors.erase("document");
}

std::optional<Loss> BertObjective::loss(const Batch& batch, const StepContext& context,
                                        std::size_t) {
  if (!shape().has_mlm_head)
    throw usage_error("an encoder without model.head = \"mlm\" cannot be pretrained");
  DropoutStream drop =
      context.is_training ? DropoutStream(context.seed, batch.first_position) : DropoutStream();
  const at::Tensor& labels = batch.at("masked_token");
  const std::int64_t K = labels.size(0);
  const bool has_pairs = shape().has_pair_head;
  // Of the last block's result only the masked tokens and, for the pairs, the first ones are read.
  at::Tensor rows = batch.at("masked_place");
  if (has_pairs) rows = at::cat({rows, first_tokens(batch.at("input_ids"))});
  const at::Tensor x =
      network_->encode_rows(bert_input(batch, "input_ids"), rows, drop);  // [K, D] or [K + B, D]
  const CrossEntropy mlm =
      fused_cross_entropy(network_->mlm_logits(has_pairs ? x.narrow(0, 0, K) : x), labels);
  const auto num_masked = static_cast<double>(K);

  Loss loss;
  loss.value = mlm.sum / std::max(batch.denominators.at("masked"), 1.0);
  loss.metrics["mlm_loss"] = {mlm.sum.detach(), num_masked};
  loss.metrics["mlm_accuracy"] = {mlm.hits, num_masked};
  if (!has_pairs) return loss;

  const at::Tensor& pair_labels = batch.at("pair_label");
  const at::Tensor first = x.narrow(0, K, x.size(0) - K);  // [B, D]
  const CrossEntropy pairs =
      fused_cross_entropy(network_->pair_logits(network_->pool(first)), pair_labels);
  const auto num_pairs = static_cast<double>(pair_labels.size(0));
  loss.value = loss.value + pairs.sum / std::max(batch.denominators.at("pairs"), 1.0);
  loss.metrics["pair_loss"] = {pairs.sum.detach(), num_pairs};
  loss.metrics["pair_accuracy"] = {pairs.hits, num_pairs};
  return loss;
}

at::Tensor BertObjective::features(const Batch& batch, const std::string& pooling) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor x = at_least_fp32(network_->encode(bert_input(batch, "tokens"), none));
  return (pooling == "cls" ? x.select(1, 0) : mean_of_words(x, batch)).to(at::kFloat);
}

}  // namespace kiln
