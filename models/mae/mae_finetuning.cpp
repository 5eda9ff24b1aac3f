#include "models/interchange/format.h"
#include "models/layers/workload.h"
#include "models/mae/mae.h"
#include "models/vit/vit_classifier.h"

namespace kiln {
namespace {

/// The classifier around this encoder, but for what is chosen for its training.
ClassifierOptions classifier_of(const VitShape& encoder) {
  ClassifierOptions options;
  options.patch = encoder.patch;
  options.dim = encoder.dim;
  options.depth = encoder.depth;
  options.heads = encoder.heads;
  options.mlp_dim = encoder.mlp_dim;
  options.learned_positions = false;
  return options;
}

}  // namespace

FineTuning MaeObjective::finetuning(RecipeReader& command_line) const {
  ClassifierOptions model = classifier_of(shape().encoder), asked = model;
  command_line.read("model", asked);
  FineTuning recipe;
  recipe.schedule.name = "cosine";
  if (asked.probe) {  // arXiv:2111.06377, appendix A.1, table 10
    recipe.name = "probe";
    model.pool = "cls";
    recipe.train.epochs = 90;
    recipe.train.global_batch = 16'384;
    recipe.train.micro_batch = 512;
    recipe.optimizer.name = "lars";
    recipe.optimizer.base_lr = 0.1;
    recipe.schedule.warmup_epochs = 10;
  } else {
    model.pool = "mean";
    model.drop_path = 0.1;
    model.label_smoothing = 0.1;
    recipe.train.epochs = 5;
    recipe.train.global_batch = 256;
    recipe.train.micro_batch = 32;
    recipe.optimizer.base_lr = 1e-3;
    recipe.optimizer.weight_decay = 0.05;
    recipe.optimizer.layer_decay = 0.75;
    recipe.schedule.warmup_epochs = 0.5;
    recipe.schedule.min_lr = 1e-6;
  }
  recipe.model = model_section(model);
  return recipe;
}

Workload::Work MaeObjective::work(const Batch& like) {
  const MaeShape& mae = network_->mae;
  const std::int64_t B = like.num_samples, V = mae.num_visible(), L = mae.encoder.num_patches();
  WorkList list(parameters(0));
  list.blocks("encoder", network_->blocks, B, 1 + V);
  list.blocks("decoder", network_->decoder_blocks, B, 1 + L);
  list.module("patch_embed", *network_->patch_embed, B * V);
  list.module("decoder_embed", *network_->decoder_embed, B * (1 + V));
  list.module("decoder_pred", *network_->decoder_pred, B * mae.num_masked());
  return std::move(list).work();
}

}  // namespace kiln
