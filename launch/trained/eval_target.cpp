#include "launch/trained/eval_target.h"

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "core/torch.h"
#include "core/training/phase_settings.h"
#include "data/kinds.h"
#include "launch/run/data_record.h"
#include "launch/trained/weights_source.h"
#include "models/interchange/huggingface.h"
#include "models/registry.h"

namespace kiln {

namespace {

RecipeReader reader_of_hub_folder(const TargetArgs& args) {
  return RecipeReader::from_text(hub_recipe(import_huggingface(args.path)), args.path,
                                 args.overrides);
}

/// What a model imported without a dataset expects of its data.
OpenedData recorded_data(EvalTarget& target) {
  DataOptions data;
  target.reader.read("data", data);
  find_data_kind(target.data_kind).describe(target.reader);
  OpenedData opened;
  opened.info = read_data_info(target.run_folder);
  return opened;
}

bool opens_dataset(const EvalTarget& target, bool is_wanted) {
  if (!is_wanted && has_data_info(target.run_folder)) return false;
  return !target.recipe.eval.path.empty() || !target.reader.peek("data", "path", "").empty() ||
         !has_data_info(target.run_folder);
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

std::string hub_recipe(const ImportedModel& imported) {
  std::string text = imported.recipe + "\n[train]\nsteps = 1\n[optimizer]\nlr = 1.0\n";
  if (imported.data.height == 0) return text;
  return text + fmt::format("[data]\nsize = {}\nmean = [{}]\nstd = [{}]\n", imported.data.height,
                            fmt::join(imported.data.mean, ", "),
                            fmt::join(imported.data.std, ", "));
}

EvalTarget open_target(const TargetArgs& args) {
  const bool is_hub_folder = is_huggingface_folder(args.path);
  const auto run = is_hub_folder ? std::filesystem::path() : run_folder_of(args.path);
  EvalTarget target{is_hub_folder ? reader_of_hub_folder(args)
                                  : RecipeReader::from_file(run / "recipe.toml", args.overrides)};
  target.run_folder = run;
  target.recipe = read_engine_sections(target.reader);
  const ModelEntry& model = find_model(target.reader.peek("model", "name", "mae"));
  target.data_kind = model.data_kind;
  target.data = opens_dataset(target, args.reads_data)
                    ? open_data(target.reader, target.recipe, model.data_kind, DataUse::kEvaluation,
                                target.recipe.eval.path)
                    : recorded_data(target);
  target.objective = model.make(target.reader, target.recipe, target.data.info);
  if (target.objective) read_phase_sections(target.reader, target.recipe, *target.objective);
  target.reader.finish();
  target.name = "untrained";
  if (!args.is_untrained) {
    const WeightsSource source = WeightsSource::open(args.path);
    check_tokenizer(source, target.data.info);
    load_objective(source, *target.objective, /*prefer_average=*/true);
    target.name = source.name();
  }
  target.objective->module().eval();
  return target;
}

}  // namespace kiln
