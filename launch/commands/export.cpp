#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "launch/commands/command.h"
#include "launch/interchange/interchange.h"

namespace kiln {

std::function<CommandResult()> declare_export(CLI::App& app) {
  struct Args {
    std::string path, format = "huggingface", out, latents;
  };
  auto args = std::make_shared<Args>();
  app.add_option("checkpoint", args->path, "A run, or one of its checkpoints.")->required();
  app.add_option("--format", args->format, "huggingface: config.json and model.safetensors.");
  app.add_option("--out", args->out, "Folder to make.")->required();
  app.add_option("--latents", args->latents,
                 "Of an autoencoder: its latents, or a diffusion run trained on them, whose scale "
                 "becomes scaling_factor.");
  set_examples(
      app,
      "  kiln export runs/mae --format huggingface --out mae-hf\n"
      "  kiln export runs/autoencoder --latents datasets/latents --out vae-hf\n\n"
      "transformers and diffusers load the folder with from_pretrained(). Values are copied "
      "bit for\nbit; where the checkpoint has a moving average, that is what is exported.");
  return [args] {
    if (args->format != "huggingface") {
      throw usage_error("{}", unknown_name("--format", args->format, {"huggingface"}));
    }
    export_checkpoint(args->path, args->out, args->latents);
    return CommandResult{};
  };
}

std::function<CommandResult()> declare_import(CLI::App& app) {
  struct Args {
    std::string path, out;
  };
  auto args = std::make_shared<Args>();
  app.add_option("folder", args->path, "Folder with config.json and model.safetensors.")
      ->required();
  app.add_option("--out", args->out, "Run folder to make, with one checkpoint at step 0.")
      ->required();
  set_examples(app,
               "  kiln import vit-mae-base --out runs/imported\n"
               "  kiln train RECIPE run.init_from=runs/imported\n\n"
               "run.init_from and kiln eval take such a folder directly, too.");
  return [args] {
    import_checkpoint(args->path, args->out);
    return CommandResult{};
  };
}

}  // namespace kiln
