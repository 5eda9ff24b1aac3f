#include "launch/run/training_setup.h"

#include <fmt/format.h>

#include <cmath>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/training/phase_settings.h"
#include "models/capabilities.h"
#include "models/registry.h"

namespace kiln {

namespace {

std::int64_t length_in_samples(const TrainOptions& train, std::int64_t num_samples) {
  if (train.samples) return *train.samples;
  if (train.steps) return *train.steps * train.global_batch;
  return std::llround(train.epochs.value_or(0.0) * static_cast<double>(num_samples));
}

}  // namespace

std::map<std::string, std::string> TrainingSetup::identity() const {
  std::map<std::string, std::string> keys = reader.identity();
  keys["data.fingerprint"] = data.info.fingerprint;
  for (const auto& [name, value] : data.info.identity) keys["data." + name] = value;
  return keys;
}

std::string TrainingSetup::recipe_hash() const {
  std::string text;
  for (const auto& [key, value] : identity()) text += key + " = " + value + "\n";
  return hash_bytes(text.data(), text.size()).hex();
}

double flops_per_sample(const TrainingSetup& setup) {
  auto* workload = dynamic_cast<Workload*>(setup.objective.get());
  if (!workload) return 0.0;
  const std::int64_t count = setup.recipe.train.micro_batch;
  return workload->work(setup.data.source->allocate(count)).training_flops() /
         static_cast<double>(count);
}

TrainingSetup read_training_setup(RecipeReader reader) {
  TrainingSetup setup{std::move(reader)};
  setup.recipe = read_engine_sections(setup.reader);
  const ModelEntry& model = find_model(setup.reader.peek("model", "name", ""));
  setup.data_kind = model.data_kind;
  setup.data = open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kTraining);
  if (!model.takes_views && !setup.data.info.views.empty()) {
    setup.reader.problem(
        fmt::format("[[data.views]]: model.name = \"{}\" trains on one picture a sample: give "
                    "data.crop and data.flip instead",
                    model.name));
  }
  setup.objective = model.make(setup.reader, setup.recipe, setup.data.info);
  if (setup.objective) read_phase_sections(setup.reader, setup.recipe, *setup.objective);
  setup.reader.finish();
  setup.objective->check(setup.data.source->allocate(1), setup.reader.peek("data", "path", ""));
  setup.total_samples = length_in_samples(setup.recipe.train, setup.data.info.num_samples);
  return setup;
}

TrainingSetup read_loader_setup(RecipeReader reader) {
  if (reader.has("model", "name")) return read_training_setup(std::move(reader));
  TrainingSetup setup{std::move(reader)};
  setup.recipe = read_engine_sections(setup.reader);
  setup.data_kind = "image";
  setup.data = open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kTraining);
  setup.reader.finish();
  return setup;
}

}  // namespace kiln
