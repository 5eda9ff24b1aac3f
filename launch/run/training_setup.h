#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "data/kinds.h"

namespace kiln {

/// Everything a recipe says, as objects: the same on every rank.
struct TrainingSetup {
  RecipeReader reader;
  Recipe recipe = {};
  std::string data_kind = {};
  OpenedData data = {};
  std::unique_ptr<Objective> objective = nullptr;  // fp32 or bf16, on the host
  std::int64_t total_samples = 0;

  /// What a resume may not change, the dataset's fingerprint included; its hash is the recipe hash.
  std::map<std::string, std::string> identity() const;
  std::string recipe_hash() const;
  std::int64_t num_micro_batches() const {
    return recipe.train.global_batch / recipe.train.micro_batch;
  }
};

/// Forward and backward of one sample of this training; 0 where the objective offers no Workload.
double flops_per_sample(const TrainingSetup& setup);

/// Throws one Error(kUsage) that lists all mistakes of the recipe, or Error(kData).
TrainingSetup read_training_setup(RecipeReader reader);

/// The same for a loader alone: a recipe of pictures may leave [model] out, and has no objective
/// then.
TrainingSetup read_loader_setup(RecipeReader reader);

}  // namespace kiln
