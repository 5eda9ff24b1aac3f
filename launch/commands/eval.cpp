#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <memory>

#include "core/report/log.h"
#include "core/report/picture.h"
#include "launch/commands/command.h"
#include "launch/evaluate/evaluate.h"
#include "launch/generate/sample.h"
#include "launch/train/finetune.h"
#include "launch/trained/eval_target.h"

namespace kiln {

std::function<CommandResult()> declare_eval(CLI::App& app) {
  auto args = std::make_shared<EvaluateArgs>();
  app.add_option("what", args->what,
                 "knn: k nearest neighbours on features; linear: linear probe, exactly solved; "
                 "finetune: trains "
                 "the whole network with a classifier; reconstruct: hidden pixels, or what an "
                 "autoencoder gives back, with a picture; mlm: masked words; ngram: n-gram models "
                 "of a text dataset; fid: pictures drawn by a diffusion model against real ones; "
                 "likelihood: what a diffusion model makes of held-out samples.")
      ->required();
  app.add_option("of", args->target.path,
                 "A run, a checkpoint's folder, or a Hugging Face folder (ngram: a dataset).")
      ->required();
  app.add_option("overrides", args->target.overrides, "section.key=value, over the run's recipe.");
  app.add_flag("--untrained", args->target.is_untrained,
               "The same network with its initial weights: what training is held against.");
  app.add_option("--out", args->out, "reconstruct: the picture; default RUN/reconstructions.png.");
  app.add_option("--text", args->text,
                 "mlm: fills in the [MASK]s of a sentence instead of measuring.");
  app.add_option("--num", args->num, "fid: pictures to draw.");
  app.add_option(
      "--features", args->features,
      "fid: pixels (32 principal components), the folder of an encoder, or a TorchScript "
      "file (.pt) of Inception features.");
  app.add_flag("--controls", args->has_controls, "fid: also of latents that no network drew.");
  add_picture_options(app, args->pictures);
  set_examples(
      app,
      "  kiln eval knn runs/mae_tiny_fashion eval.train_samples=10000\n"
      "  kiln eval linear runs/mae_tiny_fashion --untrained\n"
      "  mpirun -np 4 kiln eval finetune runs/mae train.epochs=20\n"
      "  mpirun -np 4 kiln eval finetune runs/mae model.probe=true     LARS, 90 epochs, as "
      "published\n"
      "  mpirun -np 4 kiln eval reconstruct runs/mae_tiny_fashion/checkpoints/step-000000400\n"
      "  kiln eval fid runs/ldm_tiny_fashion eval.path=datasets/fashion-mnist --guidance 2\n\n"
      "eval.path is the dataset evaluated on, eval.train_path the labelled one learned from.\n"
      "Figures do not depend on the number of ranks; they are kept in RUN/evaluations.jsonl.");
  return [args] { return args->what == "finetune" ? finetune(args->target) : evaluate(*args); };
}

}  // namespace kiln
