#include <CLI/CLI.hpp>
#include <memory>
#include <set>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "launch/commands/command.h"
#include "launch/evaluate/counted_models.h"
#include "launch/evaluate/evaluate.h"
#include "launch/evaluate/evaluate_fid.h"
#include "launch/evaluate/measure.h"
#include "launch/generate/sample.h"
#include "launch/train/finetune.h"
#include "models/registry.h"

// `kiln eval NAME`. A new evaluation is a row of evaluation_table(); those of families stand in
// their rows of the table of models.

namespace kiln {

namespace {

using Run = std::function<CommandResult()>;
using Compute = std::function<Figures(const Evaluated&)>;

void declare_target(CLI::App& app, TrainedModelArgs& target) {
  app.add_option("of", target.path, "A run, a checkpoint's folder, or a Hugging Face folder.")
      ->required();
  app.add_option("overrides", target.overrides, "section.key=value, over the run's recipe.");
}

void declare_untrained(CLI::App& app, TrainedModelArgs& target) {
  app.add_flag("--untrained", target.is_untrained,
               "The same network with its initial weights: what training is held against.");
}

/// Figures of a model on eval.path.
Evaluation figures(const std::string& name, const std::string& summary, const Compute& compute) {
  return {name, summary, [name, compute](CLI::App& app) -> Run {
            auto args = std::make_shared<EvaluateArgs>(EvaluateArgs{.what = name, .target = {}});
            declare_target(app, args->target);
            declare_untrained(app, args->target);
            return [args, compute] { return evaluate(*args, compute); };
          }};
}

Run declare_finetune(CLI::App& app) {
  auto args = std::make_shared<TrainedModelArgs>();
  declare_target(app, *args);
  declare_untrained(app, *args);
  set_examples(
      app,
      "  mpirun -np 4 kiln eval finetune runs/mae train.epochs=20\n"
      "  mpirun -np 4 kiln eval finetune runs/mae model.probe=true     LARS, 90 epochs, as "
      "published");
  return [args] { return finetune(*args); };
}

Run declare_reconstruct(CLI::App& app) {
  auto args = std::make_shared<EvaluateArgs>(
      EvaluateArgs{.what = "reconstruct", .target = {}, .has_picture = true});
  declare_target(app, args->target);
  declare_untrained(app, args->target);
  app.add_option("--out", args->out, "The picture; default RUN/reconstructions.png.");
  return [args] { return evaluate(*args, evaluate_reconstruction); };
}

Run declare_fid(CLI::App& app) {
  auto args = std::make_shared<FidArgs>();
  declare_target(app, args->target);
  declare_untrained(app, args->target);
  app.add_option("--num", args->num, "Pictures to draw.");
  app.add_option("--features", args->features,
                 "pixels (32 principal components), the folder of an encoder, or a TorchScript "
                 "file (.pt) of Inception features.");
  app.add_flag("--controls", args->has_controls, "Also of pictures that no network drew.");
  add_picture_options(app, args->pictures);
  return [args] { return evaluate_fid(*args); };
}

Evaluation own(const OwnEvaluation& own) {
  return {own.name, own.summary, [own](CLI::App& app) -> Run {
            auto args =
                std::make_shared<EvaluateArgs>(EvaluateArgs{.what = own.name, .target = {}});
            auto text = std::make_shared<std::string>();
            declare_target(app, args->target);
            declare_untrained(app, args->target);
            if (own.fills_gaps) {
              app.add_option("--text", *text,
                             "Fills in the [MASK]s of a sentence instead of measuring.");
            }
            return [args, text, name = own.name] {
              if (!text->empty()) return fill_gaps(args->target, *text);
              return evaluate(*args, [&](const Evaluated& e) { return evaluate_own(e, name); });
            };
          }};
}

Evaluation counted(const CountedModelEntry& model) {
  return {
      model.name, model.summary, [model](CLI::App& app) -> Run {
        auto args = std::make_shared<TrainedModelArgs>();
        app.add_option("of", args->path, "A text dataset, or a run trained on one.")->required();
        app.add_option("overrides", args->overrides,
                       "eval.path=TEXT: the dataset that the model is held against.");
        return [args, model] { return evaluate_counted(model, *args); };
      }};
}

std::vector<Evaluation> evaluation_table() {
  std::vector<Evaluation> table = {
      figures("knn", "k nearest neighbours on features", evaluate_knn),
      figures("linear", "linear probe on features, exactly solved", evaluate_linear),
      {"finetune", "trains the whole network with a classifier", declare_finetune},
  };
  std::set<std::string> names;
  for (const ModelEntry& model : model_table()) {
    for (const OwnEvaluation& evaluation : model.evaluations) {
      if (names.insert(evaluation.name).second) table.push_back(own(evaluation));
    }
  }
  for (const CountedModelEntry& model : counted_model_table()) table.push_back(counted(model));
  const std::vector<Evaluation> more = {
      {"reconstruct", "hidden pixels, or what an autoencoder gives back, with a picture",
       declare_reconstruct},
      {"fid", "pictures that a model draws against real ones", declare_fid},
      figures("likelihood", "what a model makes of held-out samples", evaluate_likelihood),
  };
  table.insert(table.end(), more.begin(), more.end());
  return table;
}

[[noreturn]] void refuse(const std::vector<std::string>& words) {
  std::vector<std::string> names;
  for (const Evaluation& evaluation : evaluation_table()) names.push_back(evaluation.name);
  if (words.empty()) throw usage_error("which evaluation? There are {}", fmt::join(names, ", "));
  throw usage_error("{}", unknown_name("evaluation", words.front(), names));
}

}  // namespace

std::function<CommandResult()> declare_eval(CLI::App& app) {
  std::vector<std::pair<CLI::App*, Run>> rows;
  for (const Evaluation& evaluation : evaluation_table()) {
    CLI::App* sub = app.add_subcommand(evaluation.name, evaluation.summary);
    rows.emplace_back(sub, evaluation.declare(*sub));
  }
  // Words that begin with no evaluation: to say so by name.
  auto words = std::make_shared<std::vector<std::string>>();
  app.add_option("evaluation", *words)->group("");
  set_examples(
      app,
      "  kiln eval knn runs/mae_tiny_fashion eval.train_samples=10000\n"
      "  kiln eval linear runs/mae_tiny_fashion --untrained\n"
      "  mpirun -np 4 kiln eval finetune runs/mae train.epochs=20\n"
      "  mpirun -np 4 kiln eval reconstruct runs/mae_tiny_fashion/checkpoints/step-000000400\n"
      "  kiln eval fid runs/ldm_tiny_fashion eval.path=datasets/fashion-mnist --guidance 2\n\n"
      "eval.path is the dataset evaluated on, eval.train_path the labelled one learned from.\n"
      "Figures do not depend on the number of ranks; they are kept in RUN/evaluations.jsonl.\n"
      "Options of each: kiln eval NAME --help.");
  return [rows, words] {
    for (const auto& [sub, run] : rows) {
      if (sub->parsed()) return run();
    }
    refuse(*words);
  };
}

}  // namespace kiln
