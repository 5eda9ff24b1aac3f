#include "core/recipe/recipe.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/nearest_name.h"
#include "core/recipe/recipe_reader.h"

namespace kiln {

namespace {

void check_choice(RecipeReader& reader, const std::string& key, const std::string& value,
                  const std::vector<std::string>& known) {
  if (std::ranges::find(known, value) == known.end()) {
    reader.problem(unknown_name(key, value, known));
  }
}

void check_length(RecipeReader& reader, const TrainOptions& train) {
  const int given = train.samples.has_value() + train.steps.has_value() + train.epochs.has_value();
  if (given != 1) {
    reader.problem(fmt::format(
        "give exactly one of train.samples, train.steps, train.epochs; found {}", given));
  }
}

/// A micro-batch is a property of the recipe, never of the machine; eight of them let a run go on
/// with any number of ranks up to eight.
void resolve_micro_batch(RecipeReader& reader, TrainOptions& train) {
  if (train.global_batch < 1) {
    reader.problem(fmt::format("train.global_batch = {} should be at least 1", train.global_batch));
    return;
  }
  if (train.micro_batch == 0) {
    std::int64_t parts = std::min<std::int64_t>(8, train.global_batch);
    while (train.global_batch % parts != 0) --parts;
    train.micro_batch = train.global_batch / parts;
  }
  if (train.micro_batch < 1 || train.global_batch % train.micro_batch != 0) {
    reader.problem(fmt::format(
        "train.global_batch = {} is not a multiple of train.micro_batch = {}; every micro-batch "
        "must be full",
        train.global_batch, train.micro_batch));
  }
}

/// `base_lr` is per 256 samples (the linear scaling rule of the vision papers).
void resolve_learning_rate(RecipeReader& reader, const TrainOptions& train,
                           OptimizerOptions& optimizer) {
  if (optimizer.lr.has_value() == optimizer.base_lr.has_value()) {
    reader.problem("give exactly one of optimizer.lr and optimizer.base_lr");
    return;
  }
  if (optimizer.base_lr) {
    optimizer.lr = *optimizer.base_lr * static_cast<double>(train.global_batch) / 256.0;
  }
}

void check_ranges(RecipeReader& reader, const Recipe& recipe) {
  const auto at_least = [&](const char* key, double value, double least) {
    if (!(value >= least)) {
      reader.problem(fmt::format("{} = {} should be at least {}", key, value, least));
    }
  };
  at_least("train.clip_norm", recipe.train.clip_norm, 0);
  at_least("train.stop_after", static_cast<double>(recipe.train.stop_after), 0);
  at_least("parallel.timeout_s", recipe.parallel.timeout_s, 1);
  at_least("parallel.bucket_mb", recipe.parallel.bucket_mb, 0.001);
  at_least("checkpoint.every", static_cast<double>(recipe.checkpoint.every), 0);
  at_least("checkpoint.keep", static_cast<double>(recipe.checkpoint.keep), 1);
  at_least("checkpoint.grace_s", recipe.checkpoint.grace_s, 0);
  at_least("divergence.loss_sigma", recipe.divergence.loss_sigma, 0);
  at_least("divergence.norm_sigma", recipe.divergence.norm_sigma, 0);
  at_least("divergence.window", static_cast<double>(recipe.divergence.window), 2);
  at_least("divergence.limit", static_cast<double>(recipe.divergence.limit), 0);
  at_least("log.every", static_cast<double>(recipe.log.every), 1);
  at_least("eval.every", static_cast<double>(recipe.eval.every), 0);
  at_least("eval.k", static_cast<double>(recipe.eval.k), 1);
  at_least("eval.temperature", recipe.eval.temperature, 1e-6);
  at_least("run.threads", static_cast<double>(recipe.run.threads), 0);
  if (recipe.optimizer.betas.size() != 2) reader.problem("optimizer.betas should be two numbers");
  if (recipe.ema.decay < 0 || recipe.ema.decay >= 1) {
    reader.problem(fmt::format("ema.decay = {} should be in [0, 1)", recipe.ema.decay));
  }
}

}  // namespace

Recipe read_engine_sections(RecipeReader& reader) {
  Recipe recipe;
  reader.read("run", recipe.run);
  reader.read("train", recipe.train);
  reader.read("optimizer", recipe.optimizer);
  reader.read("schedule", recipe.schedule);
  reader.read("ema", recipe.ema);
  reader.read("parallel", recipe.parallel);
  reader.read("checkpoint", recipe.checkpoint);
  reader.read("divergence", recipe.divergence);
  reader.read("eval", recipe.eval);
  reader.read("log", recipe.log);

  check_choice(reader, "run.device", recipe.run.device, {"auto", "cpu", "cuda"});
  check_choice(reader, "run.precision", recipe.run.precision, {"fp32", "bf16"});
  check_choice(reader, "optimizer.name", recipe.optimizer.name,
               {"adamw", "adam", "adamax", "rmsprop", "bert_adam", "lamb", "lars", "larc", "sgd"});
  check_choice(reader, "train.clip", recipe.train.clip, {"global", "tensor"});
  check_choice(reader, "schedule.name", recipe.schedule.name,
               {"constant", "linear", "linear_after_warmup", "cosine"});
  check_choice(reader, "parallel.reduce_dtype", recipe.parallel.reduce_dtype, {"fp32", "bf16"});
  check_choice(reader, "divergence.action", recipe.divergence.action, {"stop", "skip", "rollback"});
  check_length(reader, recipe.train);
  resolve_micro_batch(reader, recipe.train);
  resolve_learning_rate(reader, recipe.train, recipe.optimizer);
  check_ranges(reader, recipe);
  reader.update("train", recipe.train);

  if (recipe.run.dir.empty()) {
    recipe.run.dir = "runs/" + recipe.run.name;
    reader.update("run", recipe.run);
  }
  return recipe;
}

}  // namespace kiln
