#include "models/bert/bert_classifier.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "models/bert/bert_objective.h"
#include "models/layers/parameters.h"
#include "models/operators/precision.h"

namespace kiln {

BertClassifier::BertClassifier(const BertShape& choice, TextPool pool, std::int64_t num_classes,
                               const at::TensorOptions& options)
    : Bert(choice, options), pool_by(pool) {
  head = register_module("head", std::make_shared<Linear>(choice.dim, num_classes, options));
}

at::Tensor BertClassifier::scores(const Batch& batch, DropoutStream& drop) const {
  const at::Tensor x = encode(bert_input(batch, "tokens"), drop);  // [B, L, D]
  const at::Tensor pooled = pool_by == TextPool::kCls ? pool(x) : mean_of_words(x, batch);
  return at_least_fp32(head->forward(drop.dropout(pooled, shape.dropout)));
}

BertClassifierObjective::BertClassifierObjective(const BertShape& shape, TextPool pool,
                                                 std::int64_t num_classes,
                                                 const at::TensorOptions& options)
    : network_(std::make_shared<BertClassifier>(shape, pool, num_classes, options)) {}

void BertClassifierObjective::initialise(std::uint64_t seed) {
  auto list = parameters(0);
  initialise_bert(list, network_->shape.init, seed);
}

void BertClassifierObjective::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

std::vector<Parameter> BertClassifierObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  std::vector<Parameter> list = bert_parameters(*network_);
  append_parameters(list, "head", *network_->head);
  return list;
}

std::optional<Loss> BertClassifierObjective::loss(const Batch& batch, const StepContext& context,
                                                  std::size_t) {
  DropoutStream drop =
      context.is_training ? DropoutStream(context.seed, batch.first_position) : DropoutStream();
  const at::Tensor scores = network_->scores(batch, drop);
  const at::Tensor& labels = batch.at("label");
  const at::Tensor sum = at::cross_entropy_loss(scores, labels, {}, at::Reduction::Sum);
  const at::Tensor correct = scores.detach().argmax(1).eq(labels).sum();
  return Loss{sum / batch.denominators.at("samples"),
              {{"accuracy", {correct, static_cast<double>(labels.size(0))}}}};
}

at::Tensor BertClassifierObjective::scores(const Batch& batch) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  return network_->scores(batch, none);
}

std::vector<std::string> BertClassifierOptions::problems(const DatasetInfo& data) const {
  std::vector<std::string> found = BertOptions::problems(data);
  if (pool != "cls" && pool != "mean") {
    found.push_back(unknown_name("model.pool", pool, {"cls", "mean"}));
  }
  if (data.class_names.size() < 2) found.push_back("the data has no classes to tell apart");
  return found;
}

BertShape BertClassifierOptions::classifier_shape(const DatasetInfo& data) const {
  BertShape result = shape(data);
  result.has_mlm_head = result.has_pair_head = false;
  result.has_pooler = text_pool() == TextPool::kCls;
  return result;
}

}  // namespace kiln
