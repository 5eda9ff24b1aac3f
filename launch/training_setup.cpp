#include "launch/training_setup.h"

#include <cmath>

#include "core/error.h"
#include "core/hash.h"
#include "data/image_source.h"
#include "models/registry.h"

namespace kiln {

namespace {

std::int64_t length_in_samples(const TrainOptions& train, std::int64_t num_samples) {
  if (train.samples) return *train.samples;
  if (train.steps) return *train.steps * train.global_batch;
  return std::llround(train.epochs.value_or(0.0) * static_cast<double>(num_samples));
}

OpenedData open_images(RecipeReader& reader, const Recipe& recipe, DataOptions options,
                       DataUse use) {
  ImageOptions image;
  reader.read("data", image);
  if (use == DataUse::kEvaluation) image = evaluation_options(image);
  const auto seed = static_cast<std::uint64_t>(recipe.run.seed);
  const std::shared_ptr<const Dataset> dataset = open_dataset(options);
  OpenedData data;
  data.info = describe_images(*dataset, image);
  if (use == DataUse::kTraining) {
    // What the model is trained with is part of the resolved recipe: an evaluation on other images
    // normalises them the same way.
    image.mean = data.info.mean;
    image.std = data.info.std;
    reader.update("data", image);
  }
  data.source = make_image_source(dataset, image, seed);
  data.order = {.num_samples = data.source->num_samples(),
                .block_samples = dataset->shard_samples(),
                .window_blocks = options.shuffle_shards,
                .shuffle = options.shuffle,
                .seed = seed};
  data.workers = options.workers;
  return data;
}

}  // namespace

OpenedData open_data(RecipeReader& reader, const Recipe& recipe, const std::string& kind,
                     DataUse use, const std::string& path) {
  DataOptions options;
  reader.read("data", options);
  if (!path.empty()) options.path = path;
  if (options.path.empty()) throw usage_error("data.path is missing: which dataset?");
  KILN_CHECK(kind == "image", "data kind '{}'", kind);
  return open_images(reader, recipe, options, use);
}

std::map<std::string, std::string> TrainingSetup::identity() const {
  std::map<std::string, std::string> keys = reader.identity();
  keys["data.fingerprint"] = data.info.fingerprint;
  return keys;
}

std::string TrainingSetup::recipe_hash() const {
  std::string text;
  for (const auto& [key, value] : identity()) text += key + " = " + value + "\n";
  return hash_bytes(text.data(), text.size()).hex();
}

TrainingSetup read_training_setup(const std::filesystem::path& recipe,
                                  const std::vector<std::string>& overrides) {
  TrainingSetup setup{RecipeReader::from_file(recipe, overrides)};
  setup.recipe = read_engine_sections(setup.reader);
  const ModelEntry& model = find_model(setup.reader.peek("model", "name", "mae"));
  setup.data_kind = model.data_kind;
  setup.data = open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kTraining);
  setup.objective = model.make(setup.reader, setup.recipe, setup.data.info);
  setup.reader.finish();
  setup.total_samples = length_in_samples(setup.recipe.train, setup.data.info.num_samples);
  return setup;
}

}  // namespace kiln
