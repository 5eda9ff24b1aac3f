#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/dataset_info.h"
#include "core/recipe/recipe_reader.h"
#include "data/batch_source.h"
#include "data/options.h"
#include "data/sample_order.h"

namespace kiln {

class Dataset;

/// A dataset as a recipe's [data] section wants it read.
struct OpenedData {
  DatasetInfo info;
  std::shared_ptr<const BatchSource> source;
  SampleOrderOptions order;
  std::int64_t workers = 0;                                // threads that read; 0: one per core
  std::shared_ptr<const Dataset> dataset = nullptr;        // of images and latents
  std::shared_ptr<const BatchSource> as_stored = nullptr;  // before match_classes()
};

enum class DataUse { kTraining, kEvaluation };  // evaluation: no augmentation

/// What a kind opens its data by.
struct DataRequest {
  RecipeReader& reader;        // for the keys of [data] that only this kind has
  const DataOptions& options;  // the others, checked
  std::uint64_t seed = 0;
  DataUse use = DataUse::kTraining;
};

/// A kind of data: what a model names as the input it wants, and how that is read.
struct DataKind {
  std::string name;     // "image", "text", ...
  std::string summary;  // one line
  /// Fills info and source, and order.block_samples where that differs from the source's; adds what
  /// is wrong with the recipe to the reader's problems. Throws Error(kData) for what cannot be read.
  OpenedData (*open)(const DataRequest& request);
  /// Reads the kind's keys of [data] where no dataset is at hand, so that they are known.
  void (*describe)(RecipeReader& reader);
};

}  // namespace kiln
