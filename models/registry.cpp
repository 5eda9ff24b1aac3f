#include "models/registry.h"

#include <optional>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/torch.h"
#include "models/autoencoder/objective.h"
#include "models/bert/bert_classifier.h"
#include "models/bert/bert_objective.h"
#include "models/bert/bert_options.h"
#include "models/diffusion/objective.h"
#include "models/mae/mae.h"
#include "models/mae/mae_options.h"
#include "models/resnet/resnet_classifier.h"
#include "models/vit/vit_classifier.h"

namespace kiln {
namespace {

at::ScalarType weights_type(const Recipe& recipe) {
  return recipe.run.precision == "bf16" ? at::kBFloat16 : at::kFloat;
}

std::unique_ptr<Objective> make_mae(RecipeReader& reader, const Recipe& recipe,
                                    const DatasetInfo& data) {
  MaeOptions options;
  reader.read("model", options);
  if (!options.resolve()) {
    reader.problem(unknown_name("model.preset", options.preset, vit_preset_names()));
    return nullptr;
  }
  reader.update("model", options);
  const MaeShape shape = options.shape(data);
  const std::vector<std::string> problems = shape.problems();
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  auto objective = std::make_unique<MaeObjective>(shape, PixelNormalisation(data.mean, data.std),
                                                  at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

/// [model] of the models around BERT, resolved and checked; nothing, with the problems reported, if
/// anything is wrong.
template <typename Options>
std::optional<Options> read_bert_options(RecipeReader& reader, const DatasetInfo& data) {
  Options options;
  reader.read("model", options);
  if (!options.resolve()) {
    reader.problem(
        unknown_name("model.preset", options.preset, {"tiny", "mini", "small", "base", "large"}));
    return {};
  }
  reader.update("model", options);
  const std::vector<std::string> problems = options.problems(data);
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return {};
  return options;
}

std::unique_ptr<Objective> make_bert(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data) {
  const auto options = read_bert_options<BertOptions>(reader, data);
  if (!options) return nullptr;
  auto objective =
      std::make_unique<BertObjective>(options->shape(data), options->masking_options(data),
                                      at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

std::unique_ptr<Objective> make_bert_classifier(RecipeReader& reader, const Recipe& recipe,
                                                const DatasetInfo& data) {
  const auto options = read_bert_options<BertClassifierOptions>(reader, data);
  if (!options) return nullptr;
  auto objective = std::make_unique<BertClassifierObjective>(
      options->classifier_shape(data), options->text_pool(),
      static_cast<std::int64_t>(data.class_names.size()), at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

std::unique_ptr<Objective> make_vit(RecipeReader& reader, const Recipe& recipe,
                                    const DatasetInfo& data) {
  ClassifierOptions options;
  reader.read("model", options);
  std::vector<std::string> problems;
  options.resolve(data, problems);
  reader.update("model", options);
  if (problems.empty()) problems = options.shape(data).problems();
  for (const std::string& problem : problems) reader.problem(problem);
  if (!problems.empty()) return nullptr;
  const ClassifierLoss loss{
      options.label_smoothing, {options.mixup, options.cutmix}, recipe.optimizer.layer_decay};
  auto objective = std::make_unique<ClassifierObjective>(options.shape(data), loss,
                                                         PixelNormalisation(data.mean, data.std),
                                                         at::TensorOptions(weights_type(recipe)));
  objective->initialise(static_cast<std::uint64_t>(recipe.run.seed));
  return objective;
}

/// Ours, and then those that add_models() brought.
std::vector<ModelEntry>& table() {
  static std::vector<ModelEntry> entries = {
      {"bert", "text", "BERT: predicts masked tokens, and whether sentence pairs belong together.",
       make_bert},
      {"bert_classifier", "labelled_text", "BERT that classifies sentences or sentence pairs.",
       make_bert_classifier},
      {"autoencoder", "image",
       "KL or VQ autoencoder, perhaps with a discriminator: the first stage.", make_autoencoder},
      {"latent_diffusion", "latent", "U-Net or transformer that draws latents of an autoencoder.",
       make_latent_diffusion},
      {"pixel_diffusion", "image", "The same on pixels.", make_latent_diffusion},
      {"mae", "image", "Masked autoencoder: a ViT that predicts the pixels of hidden patches.",
       make_mae},
      {"resnet", "image", "Residual network that classifies images.", make_resnet},
      {"vit", "image", "ViT classifier, from scratch or fine-tuned from a masked autoencoder.",
       make_vit},
  };
  return entries;
}

}  // namespace

const std::vector<ModelEntry>& model_table() { return table(); }

void add_models(std::span<const ModelEntry> models) {
  for (const ModelEntry& added : models) {
    for (const ModelEntry& known : table()) {
      if (known.name == added.name) {
        throw usage_error("there are two models named '{}': Kiln's own, or another of this program",
                          added.name);
      }
    }
    table().push_back(added);
  }
}

const ModelEntry& find_model(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelEntry& entry : model_table()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw Error(ExitCode::kUsage, unknown_name("model.name", name, names));
}

}  // namespace kiln
