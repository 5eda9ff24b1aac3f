#include "launch/generate/sample.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/command.h"

namespace kiln {

void add_picture_options(CLI::App& app, PictureOptions& options) {
  GenerateOptions& generate = options.generate;
  SamplerOptions& sampler = generate.sampler;
  app.add_option("--steps", sampler.steps, "Sampling steps.");
  app.add_option("--sampler", sampler.sampler,
                 "ddim | ddpm | euler | heun | flow_euler | flow_heun | dpm_solver | langevin; "
                 "default: one that fits the model.");
  app.add_option("--class", options.label, "This class only; default: all classes in turn.");
  app.add_option("--context", options.context,
                 "Dataset of text embeddings that pictures follow, row by row, over and over.");
  app.add_option("--guidance", generate.guidance, "Classifier-free guidance; 1: none.");
  app.add_option("--guided-channels", generate.guided_channels,
                 "Guide only the first so many channels; 0: all.");
  app.add_option("--seed", generate.seed, "Pictures depend on it and on their numbers.");
  app.add_option("--eta", sampler.eta, "ddim: 0 deterministic, 1 as noisy as ddpm.");
  app.add_option("--variance", sampler.variance, "ddpm: fixed_small | fixed_large | learned");
  app.add_option("--spacing", sampler.spacing, "How steps are spread over time.");
  app.add_option("--clip", sampler.clip, "Clips estimates, in pixel space to 1; 0: off.");
  app.add_option("--churn", sampler.churn, "heun: noise added on the way.");
  app.add_option("--autoencoder", options.autoencoder,
                 "Decodes latents; default: model.autoencoder of the recipe.");
  app.add_option("--batch", options.batch, "Pictures made together.");
}

std::function<CommandResult()> declare_sample(CLI::App& app) {
  auto args = std::make_shared<SampleArgs>();
  app.add_option("of", args->of, "A run, a checkpoint's folder, or a Hugging Face folder.")
      ->required();
  app.add_option("overrides", args->overrides, "section.key=value, over the run's recipe.");
  app.add_option("--num", args->num, "Pictures to make.");
  app.add_option("--out", args->out, "A .png for a grid, else the folder of a dataset to make.");
  add_picture_options(app, args->pictures);
  app.add_option("--device", args->device, "auto | cpu | cuda");
  app.add_option("--threads", args->threads,
                 "Compute threads per rank; 0: its share of the cores. Pictures are the same, byte "
                 "for byte, for the same number.");
  set_examples(app,
               "  kiln sample runs/ldm --num 64 --steps 50 --out grid.png\n"
               "  kiln sample runs/dit --sampler flow_heun --class 3 --guidance 2\n"
               "  kiln sample runs/text_ldm --context datasets/captions-test --guidance 4\n"
               "  mpirun -np 8 kiln sample runs/ldm --num 50000 --out datasets/samples\n\n"
               "The same seed gives the same pictures on any number of ranks.");
  return [args] { return sample_pictures(*args); };
}

}  // namespace kiln
