#include "launch/generate/encode.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/command.h"

namespace kiln {

std::function<CommandResult()> declare_encode(CLI::App& app) {
  auto args = std::make_shared<EncodeArgs>();
  app.add_option("of", args->of,
                 "An autoencoder or BERT: a run, a checkpoint's folder, or a Hugging Face folder.")
      ->required();
  app.add_option(
      "overrides", args->overrides,
      "data.key=value: how images are read, e.g. data.size=256 data.crop=center; for BERT "
      "data.sequence_length.");
  app.add_option("--data", args->data,
                 "Dataset of images; for BERT a dataset of text, or a file with a text a line.")
      ->required();
  app.add_option("--out", args->out, "Folder of the dataset of latents or text features to make.")
      ->required();
  app.add_option("--text-key", args->text_key,
                 "BERT, files named *.jsonl: key of a line's text; default text.");
  app.add_option("--context", args->context,
                 "Dataset of text embeddings to store beside the latents: row i is image i's.");
  app.add_flag("--flip", args->has_flips, "Also encodes every image mirrored, left to right.");
  app.add_option("--batch", args->batch, "Samples encoded together.");
  app.add_option("--device", args->device, "auto | cpu | cuda");
  app.add_option(
      "--threads", args->threads,
      "Compute threads per rank; 0: its share of the cores. Results are the same, byte for "
      "byte, for the same number.");
  set_examples(
      app,
      "  kiln encode runs/autoencoder --data datasets/images --out datasets/latents\n"
      "  mpirun -np 8 kiln encode hub/vae --data datasets/images --out datasets/latents --flip\n"
      "  kiln encode runs/bert --data captions.txt --out datasets/captions");
  return [args] { return encode_dataset(*args); };
}

}  // namespace kiln
