#include "launch/trained/trained_model.h"

#include "core/base/hash.h"
#include "core/torch.h"
#include "core/training/phase_settings.h"
#include "data/kinds.h"
#include "launch/run/data_record.h"
#include "launch/trained/trained_weights.h"
#include "models/capabilities.h"
#include "models/interchange/huggingface.h"
#include "models/registry.h"

namespace kiln {

namespace {

/// What a model without a dataset expects of its data is on record.
DatasetInfo recorded_data(TrainedModel& model, const DatasetInfo* imported) {
  DataOptions data;
  model.reader.read("data", data);
  find_data_kind(model.data_kind).describe(model.reader);
  return imported ? *imported : read_data_info(model.run_folder);
}

struct Origin {
  std::optional<ImportedModel> imported;  // of a Hugging Face folder
  std::filesystem::path run;              // else the run's folder
};

bool opens_dataset(const TrainedModel& model, const Origin& origin, bool is_wanted) {
  const bool is_recorded = origin.imported || has_data_info(origin.run);
  if (!is_wanted && is_recorded) return false;
  return !model.recipe.eval.path.empty() || !model.reader.peek("data", "path", "").empty() ||
         !is_recorded;
}

/// Of the data that the run was trained on; none for folders of others.
std::vector<std::string> recorded_class_names(const Origin& origin) {
  if (!has_data_info(origin.run)) return {};
  return read_data_info(origin.run).class_names;
}

/// Its answers, or what it draws by, are classes of what it learned from.
bool knows_classes(Objective& objective) {
  if (dynamic_cast<Classifier*>(&objective)) return true;
  const auto* generator = dynamic_cast<PictureGenerator*>(&objective);
  return generator && generator->requirements().num_classes > 0;
}

RecipeReader reader_of(const Origin& origin, const TrainedModelArgs& args) {
  if (!origin.imported) return RecipeReader::from_file(origin.run / "recipe.toml", args.overrides);
  return RecipeReader::from_text(hub_recipe(origin.imported->recipe, origin.imported->data),
                                 args.path, args.overrides);
}

void load_weights(TrainedModel& model, const Origin& origin) {
  const TrainedWeights weights = origin.imported
                                     ? TrainedWeights::of(*origin.imported->objective, model.name)
                                     : TrainedWeights::open(model.path);
  check_tokenizer(weights, model.data.info);
  load_objective(weights, *model.objective, /*prefer_average=*/true);
  model.name = weights.name();
}

}  // namespace

std::filesystem::path run_folder_of(const std::filesystem::path& path) {
  if (std::filesystem::exists(path / "recipe.toml")) return path;
  const auto run = std::filesystem::path(path / "").parent_path().parent_path().parent_path();
  if (std::filesystem::exists(run / "recipe.toml")) return run;
  throw usage_error(
      "'{}' is neither a run (it has no recipe.toml), nor a run's checkpoint, nor a Hugging Face "
      "folder (config.json and model.safetensors)",
      path.string());
}

std::string hub_recipe(const std::string& model_section, const DatasetInfo& data) {
  const std::string text = model_section + "\n[train]\nsteps = 1\n[optimizer]\nlr = 1.0\n";
  if (data.height == 0) return text;
  return text + fmt::format("[data]\nsize = {}\nmean = [{}]\nstd = [{}]\n", data.height,
                            fmt::join(data.mean, ", "), fmt::join(data.std, ", "));
}

TrainedModel TrainedModel::open(const TrainedModelArgs& args) {
  Origin origin;
  if (is_huggingface_folder(args.path)) {
    origin.imported = import_huggingface(args.path);
  } else {
    origin.run = run_folder_of(args.path);
  }
  TrainedModel model{.path = args.path, .reader = reader_of(origin, args)};
  model.run_folder = origin.run;
  model.name = std::filesystem::path(args.path + "/").parent_path().filename().string();
  model.recipe = read_engine_sections(model.reader);
  const ModelEntry& entry = find_model(model.reader.peek("model", "name", ""));
  model.data_kind = entry.data_kind;
  const bool has_dataset = opens_dataset(model, origin, args.reads_data);
  if (has_dataset) {
    model.data = open_data(model.reader, model.recipe, entry.data_kind, DataUse::kEvaluation,
                           model.recipe.eval.path);
  } else {
    model.data.info = recorded_data(model, origin.imported ? &origin.imported->data : nullptr);
  }
  if (origin.imported && !has_dataset && !args.is_untrained) {
    model.objective = std::move(origin.imported->objective);  // as its config.json describes it
  } else {
    const std::vector<std::string> own_names = model.data.info.class_names;
    const std::vector<std::string> learned_names = recorded_class_names(origin);
    if (!learned_names.empty()) model.data.info.class_names = learned_names;
    model.objective = entry.make(model.reader, model.recipe, model.data.info);
    if (model.objective) read_phase_sections(model.reader, model.recipe, *model.objective);
    model.reader.finish();
    model.data.info.class_names = own_names;
    if (model.objective && knows_classes(*model.objective)) {
      match_classes(model.data, learned_names, "what the model learned from");
    }
    if (!args.is_untrained) load_weights(model, origin);
  }
  if (args.is_untrained) model.name = "untrained";
  model.objective->module().eval();
  return model;
}

std::string hash_of_weights(Objective& objective) {
  std::map<std::string, Digest> digests;
  for (const Parameter& parameter : objective.parameters(0)) {
    const at::Tensor bytes = parameter.tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    digests[parameter.name] = hash_bytes(bytes.const_data_ptr(), bytes.nbytes());
  }
  return weights_hash(digests);
}

}  // namespace kiln
