#include "launch/interchange/interchange.h"

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_folder.h"
#include "core/recipe/recipe_reader.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "data/store/manifest.h"
#include "data/text/token_stream.h"
#include "launch/interchange/export_target.h"
#include "launch/run/data_record.h"
#include "launch/trained/text_model.h"
#include "models/interchange/huggingface.h"

namespace kiln {

namespace {

/// Beside the model, so that transformers and `kiln eval mlm --text` can read words.
void export_tokenizer(const EvalTarget& target, const std::filesystem::path& out) {
  const auto folder = tokenizer_folder(target.run_folder, target.reader.peek("data", "path", ""));
  if (folder.empty()) return;  // imported without one
  const bool is_dataset = folder != target.run_folder;
  write_tokenizer(out, is_dataset ? *dataset_tokenizer(folder, read_manifest(folder))
                                  : *read_tokenizer(folder));
}

}  // namespace

void export_checkpoint(const std::filesystem::path& checkpoint, const std::filesystem::path& out,
                       const std::filesystem::path& latents) {
  const EvalTarget target = open_for_export(checkpoint, latents);
  warn_of_unknown_scale(*target.objective);
  export_huggingface(*target.objective, out);
  if (target.data_kind == "text") export_tokenizer(target, out);
  log_info("{} exported to {}", target.name, out.string());
}

namespace {

Piece whole_piece(const std::string& name, const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kFloat).contiguous().view({-1});
  return {name, tensor.sizes().vec(), {0, flat.numel()}, flat};
}

}  // namespace

void import_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& out) {
  const ImportedModel imported = import_huggingface(folder);
  const RunFolder run = RunFolder::open(out);
  CheckpointState state;
  for (std::size_t phase = 0; phase < imported.objective->phases().size(); ++phase) {
    for (const Parameter& parameter : imported.objective->parameters(phase)) {
      state.weights.push_back(whole_piece(parameter.name, parameter.tensor));
    }
  }
  for (const Buffer& buffer : saved_buffers(*imported.objective)) {
    state.weights.push_back(whole_piece("buffer/" + buffer.name, buffer.tensor));
  }
  CheckpointWriter writer({.run_dir = out, .attempt = run.attempt(), .async = false});
  writer.begin(state);
  if (writer.has_failed()) throw checkpoint_error("{}", writer.failure());
  writer.commit();
  writer.wait();
  if (!writer.failure().empty()) throw checkpoint_error("{}", writer.failure());
  write_data_info(out, imported.data);
  if (std::filesystem::exists(folder / "vocab.txt")) {
    write_tokenizer(out, *read_tokenizer(folder));
  }
  write_file_atomically(posix_file_system(), out / "recipe.toml", hub_recipe(imported));
  log_info("{} imported to {}", folder.string(), out.string());
}

}  // namespace kiln
