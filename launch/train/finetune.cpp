#include "launch/train/finetune.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "launch/evaluate/evaluations.h"
#include "launch/run/device.h"
#include "launch/run/stop_signal.h"
#include "launch/train/finetune_text.h"
#include "launch/train/train.h"
#include "launch/trained/text_model.h"
#include "models/mae/mae.h"

namespace kiln {

namespace {

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

constexpr const char* kFinetuning =
    "pool = \"mean\"\ndrop_path = 0.1\nlabel_smoothing = 0.1\n"
    "[train]\nepochs = 5\nglobal_batch = 256\nmicro_batch = 32\n"
    "[optimizer]\nname = \"adamw\"\nbase_lr = 1e-3\nweight_decay = 0.05\nlayer_decay = 0.75\n"
    "[schedule]\nname = \"cosine\"\nwarmup_epochs = 0.5\nmin_lr = 1e-6\n";
// arXiv:2111.06377, appendix A.1, table 10.
constexpr const char* kProbe =
    "pool = \"cls\"\n"
    "[train]\nepochs = 90\nglobal_batch = 16384\nmicro_batch = 512\n"
    "[optimizer]\nname = \"lars\"\nbase_lr = 0.1\nweight_decay = 0.0\n"
    "[schedule]\nname = \"cosine\"\nwarmup_epochs = 10\n";

bool is_probe(const TargetArgs& args) {
  return std::ranges::find(args.overrides, "model.probe=true") != args.overrides.end();
}

/// The recipe of the run: the pretrained network's measures and data.
std::string finetune_recipe(const EvalTarget& target, const TargetArgs& args) {
  auto* mae = dynamic_cast<MaeObjective*>(target.objective.get());
  if (!mae) throw usage_error("fine-tuning is there for masked autoencoders and BERT");
  const VitShape& shape = mae->shape().encoder;
  const Recipe& recipe = target.recipe;
  const DatasetInfo& data = target.data.info;
  const std::string name = is_probe(args) ? "probe" : "finetune";
  const auto folder = target.run_folder.empty() ? std::filesystem::path("runs") : target.run_folder;
  return fmt::format(
      "[run]\nname = {}\ndir = {}\nseed = {}\nthreads = {}\ndevice = {}\nprecision = {}\n{}"
      "[data]\npath = {}\nsize = {}\nmean = [{}]\nstd = [{}]\n"
      "[checkpoint]\nevery = 500\n[eval]\npath = {}\nmax_samples = {}\n"
      "[model]\nname = \"vit\"\npatch = {}\ndim = {}\ndepth = {}\nheads = {}\nmlp_dim = {}\n"
      "learned_positions = false\n{}",
      quoted(name), quoted((folder / name).string()), recipe.run.seed, recipe.run.threads,
      quoted(recipe.run.device), quoted(recipe.run.precision),
      args.is_untrained ? "" : "init_from = " + quoted(args.path) + "\n",
      quoted(recipe.eval.train_path), data.height, fmt::join(data.mean, ", "),
      fmt::join(data.std, ", "), quoted(recipe.eval.path), recipe.eval.max_samples, shape.patch,
      shape.dim, shape.depth, shape.heads, shape.mlp_dim, is_probe(args) ? kProbe : kFinetuning);
}

CommandResult finetune_in(World& world, TrainingSetup& setup) {
  // Before training, so that what is wrong with it shows at once.
  const OpenedData data = open_data(setup.reader, setup.recipe, setup.data_kind,
                                    DataUse::kEvaluation, setup.recipe.eval.path);
  CommandResult result = train_in(world, setup);
  if (result.code != ExitCode::kDone) return result;
  setup.objective->module().eval();
  const Figures figures =
      evaluate_classifier({.objective = *setup.objective,
                           .recipe = setup.recipe,
                           .data = data,
                           .train_data = nullptr,
                           .communicator = world.communicator(),
                           .device = choose_device(setup.recipe.run.device, world),
                           .num_threads = world.cores()});
  for (const auto& [name, value] : figures) result.json[name] = value;
  if (world.rank() == 0) fmt::print("accuracy {}\n", figures.at("accuracy"));
  return result;
}

/// Keys of the run's recipe that name the datasets; everything else on the command line is about
/// the fine-tuning run.
TargetArgs dataset_args(const TargetArgs& args) {
  TargetArgs chosen{.path = args.path, .is_untrained = true};
  for (const std::string& word : args.overrides) {
    if (word.starts_with("eval.")) chosen.overrides.push_back(word);
  }
  return chosen;
}

std::string image_finetune_recipe(const TargetArgs& args) {
  const EvalTarget target = open_target(dataset_args(args));
  if (target.recipe.eval.train_path.empty() || target.recipe.eval.path.empty()) {
    throw usage_error("fine-tuning needs eval.train_path, a labelled dataset, and eval.path");
  }
  return finetune_recipe(target, args);
}

}  // namespace

CommandResult finetune(const TargetArgs& args) {
  const std::string recipe =
      is_text_model(args.path) ? text_finetune_recipe(args) : image_finetune_recipe(args);
  TrainingSetup setup = read_training_setup(
      RecipeReader::from_text(recipe, "the recipe of kiln eval finetune", args.overrides));
  install_stop_signals();
  return run_in_world(setup.recipe.parallel.timeout_s,
                      [&](World& world) { return finetune_in(world, setup); });
}

}  // namespace kiln
