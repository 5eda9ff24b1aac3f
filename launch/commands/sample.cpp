#include "launch/generate/sample.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "launch/commands/command.h"
#include "models/registry.h"

namespace kiln {

void add_picture_options(CLI::App& app, PictureOptions& options) {
  app.add_option("--class", options.label, "This class only; default: all classes in turn.");
  app.add_option("--context", options.context,
                 "Dataset of text embeddings that pictures follow, row by row, over and over.");
  app.add_option("--seed", options.seed, "Pictures depend on it and on their numbers.");
  app.add_option("--batch", options.batch, "Pictures made together.");
  for (const ModelEntry& model : model_table()) {
    if (model.drawing == nullptr) continue;
    for (const OptionDoc& option : model.drawing()) {
      std::string flag = "--" + option.name;
      std::ranges::replace(flag, '_', '-');
      if (app.get_option_no_throw(flag) != nullptr) continue;  // another generator's, too
      app.add_option_function<std::string>(
          flag,
          [&options, key = option.name](const std::string& value) { options.drawing[key] = value; },
          option.doc);
    }
  }
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
