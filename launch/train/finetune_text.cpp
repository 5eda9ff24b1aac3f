#include "launch/train/finetune_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/text/labelled_text.h"
#include "launch/trained/text_model.h"
#include "models/bert/bert_objective.h"

namespace kiln {
namespace {

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

struct LabelledFiles {
  std::string train, test;
  std::vector<std::string> classes;
};

/// What the command line says of the labelled texts.
LabelledFiles read_files(const std::vector<std::string>& overrides) {
  RecipeReader reader = RecipeReader::from_text("", "command line", overrides);
  EvalOptions eval;
  LabelledTextOptions text;
  reader.read("eval", eval);
  reader.read("data", text);
  if (eval.train_path.empty() || eval.path.empty()) {
    throw usage_error(
        "fine-tuning needs eval.train_path and eval.path: files of JSON lines, each with "
        "\"text\", perhaps \"text_b\", and \"label\"");
  }
  return {eval.train_path, eval.path,
          text.classes.empty() ? read_classes(eval.train_path, text.label_key) : text.classes};
}

std::string model_lines(const BertShape& shape) {
  return fmt::format(
      "[model]\nname = \"bert_classifier\"\ndim = {}\ndepth = {}\nheads = {}\nmlp_dim = {}\n"
      "max_positions = {}\ngelu = \"{}\"\nlayer_norm_eps = {:e}\ninit_std = {}\nposition_init = "
      "\"{}\"\npool = \"{}\"\n",
      shape.dim, shape.depth, shape.heads, shape.mlp_dim, shape.max_positions,
      shape.has_tanh_gelu ? "tanh" : "erf", shape.layer_norm_eps, shape.init.std,
      shape.init.has_position_waves ? "waves" : "normal", shape.has_pooler ? "cls" : "mean");
}

TargetArgs without_overrides(const TargetArgs& args) {
  return {.path = args.path, .overrides = {}, .is_untrained = false};
}

}  // namespace

std::string text_finetune_recipe(const TargetArgs& args) {
  const LabelledFiles files = read_files(args.overrides);
  const TextModel model = open_text_model(without_overrides(args));
  const BertShape& shape = dynamic_cast<BertObjective&>(*model.objective).shape();
  const NormalizerOptions& letters = model.tokenizer->words().options();
  const char* name = args.is_untrained ? "finetune_untrained" : "finetune";
  const auto run =
      (model.run_folder.empty() ? std::filesystem::path("runs") : model.run_folder) / name;
  std::vector<std::string> classes;
  for (const std::string& label : files.classes) classes.push_back(quoted(label));
  return fmt::format(
             "[run]\nname = \"{}\"\ndir = {}\nseed = {}\nthreads = {}\ndevice = {}\n"
             "precision = {}\ninit_from = {}\n",
             name, quoted(run.string()), model.recipe.run.seed, model.recipe.run.threads,
             quoted(model.recipe.run.device), quoted(model.recipe.run.precision),
             quoted(args.is_untrained ? "" : args.path)) +
         fmt::format(
             "[data]\npath = {}\nvocabulary = {}\nlowercase = {}\nstrip_accents = {}\n"
             "sequence_length = {}\nclasses = [{}]\n",
             quoted(files.train), quoted(model.vocabulary.string()), letters.lowercase,
             letters.strip_accents, std::min<std::int64_t>(128, shape.max_positions),
             fmt::join(classes, ", ")) +
         model_lines(shape) +
         fmt::format(
             "[train]\nepochs = 3\nglobal_batch = 32\nmicro_batch = 8\nclip_norm = 1.0\n"
             "[optimizer]\nname = \"adamw\"\nlr = 5e-5\neps = 1e-6\nweight_decay = 0.01\n"
             "[schedule]\nname = \"linear_after_warmup\"\nwarmup_epochs = 0.3\n"
             "[checkpoint]\nevery = 500\n[eval]\npath = {}\n",
             quoted(files.test));
}

}  // namespace kiln
