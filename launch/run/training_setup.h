#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "data/batch_source.h"
#include "data/sample_order.h"

namespace kiln {

/// A dataset as a recipe's [data] section wants it read.
struct OpenedData {
  DatasetInfo info;
  std::shared_ptr<const BatchSource> source;
  SampleOrderOptions order;
  std::int64_t workers = 0;  // threads that read; 0: one per core
};

enum class DataUse { kTraining, kEvaluation };  // evaluation: no random crop, no flip

/// Reads [data] through `reader`. `path`: instead of data.path, where not empty.
OpenedData open_data(RecipeReader& reader, const Recipe& recipe, const std::string& kind,
                     DataUse use, const std::string& path = "");

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

/// Throws one Error(kUsage) that lists all mistakes of the recipe, or Error(kData).
TrainingSetup read_training_setup(RecipeReader reader);

}  // namespace kiln
