#include <algorithm>

#include "core/torch.h"
#include "models/bert/bert_classifier.h"
#include "models/bert/bert_objective.h"
#include "models/interchange/format.h"
#include "models/layers/workload.h"

// A BertObjective as an encoder of texts and as the beginning of a classifier, and what BERT costs.

namespace kiln {
namespace {

void add_encoder(WorkList& list, const Bert& bert, const at::Tensor& tokens) {
  list.blocks("blocks", bert.blocks, tokens.size(0), tokens.size(1));
}

}  // namespace

BertObjective::EncodedText BertObjective::encode_text(const Batch& batch) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor x = network_->encode(bert_input(batch, "tokens"), none);  // [B, S, D]
  const at::Tensor is_text = batch.at("document").ge(0).unsqueeze(2);
  const at::Tensor embedding =
      shape().has_pooler ? network_->pool(x) : mean_of_words(x.to(at::kFloat), batch);
  return {x * is_text, embedding.to(at::kFloat)};
}

// The head sees [CLS] if pretraining taught the pooler something, else the mean of the words.
FineTuning BertObjective::finetuning(RecipeReader&) const {
  constexpr std::int64_t kMostTokens = 128;
  const BertOptions known = BertOptions::of(shape());
  BertClassifierOptions model;
  model.dim = known.dim;
  model.depth = known.depth;
  model.heads = known.heads;
  model.mlp_dim = known.mlp_dim;
  model.max_positions = known.max_positions;
  model.gelu = known.gelu;
  model.layer_norm_eps = known.layer_norm_eps;
  model.init_std = known.init_std;
  model.position_init = known.position_init;
  model.pool = shape().has_pooler ? "cls" : "mean";
  FineTuning recipe;
  recipe.model = model_section(model);
  recipe.train.epochs = 3;
  recipe.train.global_batch = 32;
  recipe.train.micro_batch = 8;
  recipe.train.clip_norm = 1.0;
  recipe.optimizer.lr = 5e-5;
  recipe.optimizer.eps = 1e-6;
  recipe.optimizer.weight_decay = 0.01;
  recipe.schedule.name = "linear_after_warmup";
  recipe.schedule.warmup_epochs = 0.3;
  recipe.max_tokens = std::min<std::int64_t>(kMostTokens, shape().max_positions);
  return recipe;
}

Workload::Work BertObjective::work(const Batch& like) {
  const at::Tensor& tokens = like.at("tokens");  // [B, L]
  const std::int64_t B = tokens.size(0);
  WorkList list(parameters(0));
  add_encoder(list, *network_, tokens);
  if (network_->mlm) {
    const std::int64_t rows = B * num_predictions(tokens.size(1), masking_);
    list.module("mlm", *network_->mlm->dense, rows);
    list.module("mlm", *network_->mlm->norm, rows);
    list.product("mlm.words", rows, shape().dim, shape().vocab_size);
  }
  if (network_->pooler) list.module("pooler", *network_->pooler, B);
  if (network_->pair_head) list.module("pair_head", *network_->pair_head, B);
  return std::move(list).work();
}

Workload::Work BertClassifierObjective::work(const Batch& like) {
  const at::Tensor& tokens = like.at("tokens");
  WorkList list(parameters(0));
  add_encoder(list, *network_, tokens);
  if (network_->pooler) list.module("pooler", *network_->pooler, tokens.size(0));
  list.module("head", *network_->head, tokens.size(0));
  return std::move(list).work();
}

}  // namespace kiln
