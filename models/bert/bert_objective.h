#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/objective.h"
#include "models/bert/bert.h"
#include "models/bert/masking.h"
#include "models/capabilities.h"

namespace kiln {

/// Pretraining of BERT: masked language model, and next-sentence or sentence-order prediction where
/// the data has pairs.
///
/// Batches: "tokens", "kind", "document", "position" [B, L], for pairs "segment" [B, L] and
/// "pair_label" [B]. prepare() draws the masking from Philox(seed, kMask, position) and adds
///   input_ids     int64 [B, L]  what the network sees
///   masked_place  int64 [K]     rows of [B * L] to predict, ascending
///   masked_token  int64 [K]     what stood there
/// K differs between micro-batches; its share of the denominator is weights["masked"], that of
/// pairs weights["pairs"]. "kind" is dropped, and "document" too where no row holds more than one
/// document or padding, so that attention needs no mask.
///
/// Tokens attend within their document only: packed documents do not see each other.
///
/// loss = sum of cross-entropies over masked tokens / masked
///      + sum of cross-entropies over pairs / pairs,      denominators over the global batch.
/// The vocabulary's scores are computed for the K masked tokens alone.
///
/// "mlm" measures on held-out text, with masks drawn once for the position of each sample:
/// "mlm_loss" (nats), "mlm_accuracy", "perplexity" = exp(mlm_loss), "masked_tokens", and
/// "shuffled_loss", the same with all other words exchanged across the batch: what is left when the
/// context says nothing. With training text also "unigram_loss" at the same places, of counts plus
/// one of that text.
///
/// A fifth of the places do not show [MASK], and half of those show the word itself, which is worth
/// about half a nat without any context. "hidden_loss", "hidden_shuffled_loss" and
/// "hidden_unigram_loss" are of the places that show [MASK]: there nothing beats the unigram model
/// without context.
class BertObjective : public Objective,
                      public FeatureExtractor,
                      public Measurable,
                      public TextEncoder,
                      public WordPredictor,
                      public FineTunable,
                      public Workload {
 public:
  BertObjective(const BertShape& shape, const MaskingOptions& masking,
                const at::TensorOptions& options);

  /// Weights from Philox(seed, kInit, number of the parameter).
  void initialise(std::uint64_t seed);

  Bert& network() { return *network_; }
  const BertShape& shape() const { return network_->shape; }
  const MaskingOptions& masking() const { return masking_; }

  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  std::vector<std::string> poolings() const override { return {"mean", "cls"}; }
  /// Of the batch's tokens as they are, without masking. Padding does not count in the mean.
  at::Tensor features(const Batch& batch, const std::string& pooling) override;
  std::unique_ptr<Measurement> measurement(const std::string& evaluation,
                                           const MeasurementSetup& setup) override;
  std::int64_t text_width() const override { return shape().dim; }
  std::int64_t max_text_tokens() const override { return shape().max_positions; }
  /// The pooler's output for [CLS] where the model has one (pretraining had pairs), else the mean
  /// over the words, as fine-tuning pools.
  std::string text_pooling() const override { return shape().has_pooler ? "pooler" : "mean"; }
  EncodedText encode_text(const Batch& batch) override;
  at::Tensor word_probabilities(const at::Tensor& tokens,
                                const std::vector<std::int64_t>& places) override;
  /// A "bert_classifier": 3 epochs of 32 samples a step as in arXiv:1810.04805, appendix A.3.
  FineTuning finetuning(RecipeReader& command_line) const override;
  Work work(const Batch& like) override;

 private:
  std::shared_ptr<Bert> network_;
  MaskingOptions masking_;
};

/// The network's input from a batch: `tokens` names the tensor of ids. The mask keeps attention
/// within documents; padding sees padding only, so that no row is without keys.
Bert::Input bert_input(const Batch& batch, const char* tokens);
/// Mean over a sample's tokens without [CLS] and padding: [B, L, D] -> [B, D].
at::Tensor mean_of_words(const at::Tensor& x, const Batch& batch);

}  // namespace kiln
