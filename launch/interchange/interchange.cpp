#include "launch/interchange/interchange.h"

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_folder.h"
#include "core/recipe/recipe_reader.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "data/latents/latent_source.h"
#include "launch/run/data_record.h"
#include "launch/trained/tokenizer_files.h"
#include "launch/trained/trained_model.h"
#include "models/capabilities.h"
#include "models/interchange/huggingface.h"

namespace kiln {

namespace {

/// What is known of a codec's latents, in dataset.json and in [model] of a run trained on them.
struct LatentFacts {
  double scale = 0.0;
  std::string codec_hash;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("latent_scale", scale, "1 over the standard deviation of the latents.", kIdentity);
    visit("autoencoder_hash", codec_hash, "weights_hash of what made them.", kIdentity);
  }
};

LatentFacts facts_of_latents(const std::filesystem::path& path) {
  LatentFacts facts;
  if (std::filesystem::exists(path / "recipe.toml")) {
    RecipeReader::from_file(path / "recipe.toml", {}).read("model", facts);
  } else {
    const DatasetInfo info = describe_latents(Dataset(path));
    facts = {info.number("latent_scale"), info.fact("autoencoder_hash")};
  }
  if (facts.scale > 0.0 && !facts.codec_hash.empty()) return facts;
  throw usage_error(
      "--latents '{}' is neither a dataset made by `kiln encode` nor a run trained on one",
      path.string());
}

/// `latents`, where not empty: their measured scale becomes the codec's model.latent_scale.
TrainedModel open_for_export(const std::filesystem::path& checkpoint,
                             const std::filesystem::path& latents) {
  TrainedModelArgs args{.path = checkpoint.string(), .reads_data = false};
  if (latents.empty()) return TrainedModel::open(args);
  const LatentFacts facts = facts_of_latents(latents);
  args.overrides = {fmt::format("model.latent_scale={:.17g}", facts.scale)};
  TrainedModel model = TrainedModel::open(args);
  model.as<LatentCodec>("is no autoencoder, which --latents is for");
  if (const auto hash = hash_of_weights(*model.objective); hash != facts.codec_hash) {
    throw usage_error(
        "the latents of '{}' are of another autoencoder (hash {}) than '{}' (hash {})",
        latents.string(), facts.codec_hash, checkpoint.string(), hash);
  }
  return model;
}

/// Beside the model, so that transformers and `kiln eval mlm --text` can read words.
void export_tokenizer(const TrainedModel& model, const std::filesystem::path& out) {
  const bool is_imported = std::filesystem::exists(model.run_folder / "vocab.txt");
  if (!is_imported && model.reader.peek("data", "path", "").empty()) return;  // without one
  write_tokenizer(out, *tokenizer_of(model).tokenizer);
}

}  // namespace

void export_checkpoint(const std::filesystem::path& checkpoint, const std::filesystem::path& out,
                       const std::filesystem::path& latents) {
  const TrainedModel model = open_for_export(checkpoint, latents);
  export_huggingface(*model.objective, out);
  if (model.data_kind == "text") export_tokenizer(model, out);
  log_info("{} exported to {}", model.name, out.string());
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
  write_file_atomically(posix_file_system(), out / "recipe.toml",
                        hub_recipe(imported.recipe, imported.data));
  log_info("{} imported to {}", folder.string(), out.string());
}

}  // namespace kiln
