#include "launch/train/finetune.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/options.h"
#include "data/text/labelled_text.h"
#include "launch/evaluate/evaluations.h"
#include "launch/run/device.h"
#include "launch/run/stop_signal.h"
#include "launch/train/train.h"
#include "launch/trained/tokenizer_files.h"
#include "models/capabilities.h"
#include "models/interchange/huggingface.h"

namespace kiln {

namespace {

constexpr std::int64_t kStepsBetweenCheckpoints = 500;

/// The datasets: what the command line says, for pictures over what the run was evaluated on.
EvalOptions read_paths(const TrainedModel& model, RecipeReader& command_line,
                       const FineTuning& tuning) {
  EvalOptions eval;
  if (tuning.max_tokens == 0) eval = model.recipe.eval;
  command_line.read("eval", eval);
  if (!eval.train_path.empty() && !eval.path.empty()) return eval;
  throw usage_error("fine-tuning needs eval.train_path{} and eval.path",
                    tuning.max_tokens == 0
                        ? ", a labelled dataset,"
                        : " (files of JSON lines, each with \"text\", perhaps \"text_b\", and "
                          "\"label\")");
}

RunOptions run_options(const TrainedModel& model, const TrainedModelArgs& args,
                       const FineTuning& tuning) {
  const auto folder = model.run_folder.empty() ? std::filesystem::path("runs") : model.run_folder;
  const RunOptions& trained = model.recipe.run;
  RunOptions run;
  run.name = tuning.name;
  if (args.is_untrained && tuning.max_tokens > 0) run.name += "_untrained";
  run.dir = (folder / run.name).string();
  run.seed = trained.seed;
  run.threads = trained.threads;
  run.device = trained.device;
  run.precision = trained.precision;
  if (!args.is_untrained) run.init_from = args.path;
  return run;
}

/// As the network was trained to see pictures.
ImageOptions image_options(const DatasetInfo& expected) {
  ImageOptions image;
  image.size = expected.height;
  image.mean = expected.mean;
  image.std = expected.std;
  return image;
}

LabelledTextOptions text_options(const TrainedModel& model, RecipeReader& command_line,
                                 const std::string& train_path, const FineTuning& tuning) {
  LabelledTextOptions text;
  command_line.read("data", text);
  const std::vector<std::string> classes =
      text.classes.empty() ? read_classes(train_path, text.label_key) : text.classes;
  const ModelTokenizer tokenizer = tokenizer_of(model);
  const NormalizerOptions& letters = tokenizer.tokenizer->words().options();
  text = {};
  text.classes = classes;
  text.vocabulary = tokenizer.vocabulary.string();
  text.lowercase = letters.lowercase;
  text.strip_accents = letters.strip_accents;
  text.sequence_length = tuning.max_tokens;
  return text;
}

/// The recipe of the run, as TOML: the family's, and where data and results lie.
std::string finetune_recipe(const TrainedModelArgs& args) {
  const bool needs_no_weights = args.is_untrained && !is_huggingface_folder(args.path);
  const TrainedModel model = TrainedModel::open(
      {.path = args.path, .is_untrained = needs_no_weights, .reads_data = false});
  auto& tunable = model.as<FineTunable>("cannot be fine-tuned as a classifier");
  RecipeReader command_line = RecipeReader::from_text("", "command line", args.overrides);
  FineTuning tuning = tunable.finetuning(command_line);
  const EvalOptions paths = read_paths(model, command_line, tuning);

  RecipeReader recipe = RecipeReader::from_text("", "fine-tuning", {});
  RunOptions run = run_options(model, args, tuning);
  DataOptions data{.path = paths.train_path};
  CheckpointOptions checkpoint{.every = kStepsBetweenCheckpoints};
  EvalOptions eval{.path = paths.path, .max_samples = model.recipe.eval.max_samples};
  recipe.read("run", run);
  recipe.read("data", data);
  if (tuning.max_tokens == 0) {
    ImageOptions image = image_options(model.data.info);
    recipe.read("data", image);
  } else {
    LabelledTextOptions text = text_options(model, command_line, paths.train_path, tuning);
    recipe.read("data", text);
    eval.max_samples = 0;
  }
  recipe.read("train", tuning.train);
  recipe.read("optimizer", tuning.optimizer);
  recipe.read("schedule", tuning.schedule);
  recipe.read("checkpoint", checkpoint);
  recipe.read("eval", eval);
  return recipe.resolved_toml() + "\n" + tuning.model;
}

CommandResult finetune_in(World& world, TrainingSetup& setup) {
  // Before training, so that what is wrong with it shows at once.
  OpenedData data = open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kEvaluation,
                              setup.recipe.eval.path);
  match_classes(data, setup.data.info.class_names, "the data that it learns from");
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

}  // namespace

CommandResult finetune(const TrainedModelArgs& args) {
  TrainingSetup setup = read_training_setup(RecipeReader::from_text(
      finetune_recipe(args), "the recipe of kiln eval finetune", args.overrides));
  install_stop_signals();
  return run_in_world(setup.recipe.parallel.timeout_s,
                      [&](World& world) { return finetune_in(world, setup); });
}

}  // namespace kiln
