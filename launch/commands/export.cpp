#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "launch/commands/command.h"
#include "launch/interchange/interchange.h"

namespace kiln {

std::function<CommandResult()> declare_export(CLI::App& app) {
  struct Words {
    std::string path, format = "huggingface", out, latents;
  };
  auto words = std::make_shared<Words>();
  app.add_option("checkpoint", words->path, "A run, or one of its checkpoints.")->required();
  app.add_option("--format", words->format, "huggingface: config.json and model.safetensors.");
  app.add_option("--out", words->out, "Folder to make.")->required();
  app.add_option("--latents", words->latents,
                 "Of an autoencoder: its latents, or a diffusion run trained on them, whose scale "
                 "becomes scaling_factor.");
  set_examples(
      app,
      "  kiln export runs/mae --format huggingface --out mae-hf\n"
      "  kiln export runs/autoencoder --latents datasets/latents --out vae-hf\n\n"
      "transformers and diffusers load the folder with from_pretrained(). Values are copied "
      "bit for\nbit; where the checkpoint has a moving average, that is what is exported.");
  return [words] {
    if (words->format != "huggingface") {
      throw usage_error("{}", unknown_name("--format", words->format, {"huggingface"}));
    }
    export_checkpoint(words->path, words->out, words->latents);
    return CommandResult{};
  };
}

std::function<CommandResult()> declare_import(CLI::App& app) {
  struct Words {
    std::string path, out;
  };
  auto words = std::make_shared<Words>();
  app.add_option("folder", words->path, "Folder with config.json and model.safetensors.")
      ->required();
  app.add_option("--out", words->out, "Run folder to make, with one checkpoint at step 0.")
      ->required();
  set_examples(app,
               "  kiln import vit-mae-base --out runs/imported\n"
               "  kiln train RECIPE run.init_from=runs/imported\n\n"
               "run.init_from and kiln eval take such a folder directly, too.");
  return [words] {
    import_checkpoint(words->path, words->out);
    return CommandResult{};
  };
}

}  // namespace kiln
