#include "launch/run/training_setup.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/images/image_source.h"
#include "data/latents/latent_source.h"
#include "data/text/labelled_text.h"
#include "data/text/text_source.h"
#include "data/text/token_stream.h"
#include "launch/run/conditions.h"
#include "models/registry.h"

namespace kiln {

namespace {

std::int64_t length_in_samples(const TrainOptions& train, std::int64_t num_samples) {
  if (train.samples) return *train.samples;
  if (train.steps) return *train.steps * train.global_batch;
  return std::llround(train.epochs.value_or(0.0) * static_cast<double>(num_samples));
}

SampleOrderOptions order_of(const DataOptions& options, const BatchSource& source,
                            std::int64_t block_samples, std::uint64_t seed) {
  return {.num_samples = source.num_samples(),
          .block_samples = block_samples,
          .window_blocks = options.shuffle_shards,
          .shuffle = options.shuffle,
          .seed = seed};
}

OpenedData open_text(RecipeReader& reader, const Recipe& recipe, const DataOptions& options) {
  TextOptions text;
  reader.read("data", text);
  const auto seed = static_cast<std::uint64_t>(recipe.run.seed);
  const auto stream = std::make_shared<const TokenStream>(open_dataset(options));
  OpenedData data;
  data.info = describe_text(*stream, text);
  data.source = make_text_source(stream, text, seed);
  data.order = order_of(options, *data.source, data.source->num_samples(), seed);
  data.workers = options.workers;
  return data;
}

OpenedData open_labelled(RecipeReader& reader, const Recipe& recipe, const DataOptions& options) {
  LabelledTextOptions text;
  reader.read("data", text);
  LabelledText opened = open_labelled_text(options.path, text);
  text.classes = opened.info.class_names;
  reader.update("data", text);
  OpenedData data;
  data.info = std::move(opened.info);
  data.source = std::move(opened.source);
  data.order = order_of(options, *data.source, data.source->num_samples(),
                        static_cast<std::uint64_t>(recipe.run.seed));
  data.workers = options.workers;
  return data;
}

OpenedData open_images(RecipeReader& reader, const Recipe& recipe, DataOptions options,
                       DataUse use) {
  ImageOptions image;
  reader.read("data", image);
  if (!check(image, reader)) image = {};  // reader.finish() says why; what follows must not stumble
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
  data.order = order_of(options, *data.source, dataset->shard_samples(), seed);
  data.workers = options.workers;
  return data;
}

OpenedData open_latents(const Recipe& recipe, const DataOptions& options) {
  const auto seed = static_cast<std::uint64_t>(recipe.run.seed);
  const std::shared_ptr<const Dataset> dataset = open_dataset(options);
  OpenedData data;
  data.info = describe_latents(*dataset);
  data.source = make_latent_source(dataset);
  data.order = order_of(options, *data.source, dataset->shard_samples(), seed);
  data.workers = options.workers;
  return data;
}

}  // namespace

OpenedData open_data(RecipeReader& reader, const Recipe& recipe, const std::string& kind,
                     DataUse use, const std::string& path) {
  DataOptions options;
  reader.read("data", options);
  if (!path.empty()) options.path = path;
  if (options.path.empty()) {
    throw usage_error("data.path is missing: the dataset folder, made by `kiln data import`");
  }
  if (!check(options, reader)) options = {.path = options.path};
  if (kind == "text") return open_text(reader, recipe, options);
  if (kind == "labelled_text") return open_labelled(reader, recipe, options);
  if (kind == "latent") return open_latents(recipe, options);
  KILN_CHECK(kind == "image", "data kind '{}'", kind);
  return open_images(reader, recipe, options, use);
}

std::map<std::string, std::string> TrainingSetup::identity() const {
  std::map<std::string, std::string> keys = reader.identity();
  keys["data.fingerprint"] = data.info.fingerprint;
  if (!data.info.tokenizer_hash.empty()) keys["data.tokenizer"] = data.info.tokenizer_hash;
  return keys;
}

std::string TrainingSetup::recipe_hash() const {
  std::string text;
  for (const auto& [key, value] : identity()) text += key + " = " + value + "\n";
  return hash_bytes(text.data(), text.size()).hex();
}

TrainingSetup read_training_setup(RecipeReader reader) {
  TrainingSetup setup{std::move(reader)};
  setup.recipe = read_engine_sections(setup.reader);
  const ModelEntry& model = find_model(setup.reader.peek("model", "name", "mae"));
  setup.data_kind = model.data_kind;
  setup.data = open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kTraining);
  setup.objective = model.make(setup.reader, setup.recipe, setup.data.info);
  setup.reader.finish();
  check_conditions(*setup.objective, *setup.data.source, setup.reader.peek("data", "path", ""));
  setup.total_samples = length_in_samples(setup.recipe.train, setup.data.info.num_samples);
  return setup;
}

}  // namespace kiln
