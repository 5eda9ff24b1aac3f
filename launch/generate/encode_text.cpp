#include "launch/generate/encode_text.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"
#include "data/text/text_samples.h"
#include "launch/generate/encoded_rows.h"
#include "launch/run/device.h"
#include "launch/run/world.h"
#include "launch/trained/tokenizer_files.h"
#include "models/capabilities.h"

namespace kiln {
namespace {

constexpr std::int64_t kShardSamples = 2048;

/// [data] of the command line.
struct EncodeTextOptions {
  std::optional<std::int64_t> sequence_length;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("sequence_length", sequence_length, "Tokens per sample, [CLS] and [SEP] included.",
          kIdentity);
  }
};

/// S: what the command line says, else what the model was trained on, at most what it takes.
std::int64_t sequence_length(const EncodeArgs& args, const TrainedModel& model, std::int64_t most) {
  RecipeReader reader = RecipeReader::from_text("", "command line", args.overrides);
  EncodeTextOptions given, trained;
  reader.read("data", given);
  reader.finish();
  if (given.sequence_length) {
    const std::int64_t length = *given.sequence_length;
    if (length >= 2 && length <= most) return length;
    throw usage_error("data.sequence_length = {}: '{}' takes 2 to {} tokens", length, args.of,
                      most);
  }
  if (!model.run_folder.empty()) {
    RecipeReader::from_file(model.run_folder / "recipe.toml", {}).read("data", trained);
  }
  return std::min<std::int64_t>(trained.sequence_length.value_or(128), most);
}

class DatasetOfTexts {
 public:
  DatasetOfTexts(const EncodeArgs& args, const TrainedModel& model, World& world)
      : args_(args),
        world_(world),
        encoder_(*model.find<TextEncoder>()),
        tokenizer_(tokenizer_of(model).tokenizer),
        texts_(open_text_samples(args.data, args.text_key, *tokenizer_)),
        tokens_(*tokenizer_),
        device_(choose_device(args.device, world)),
        length_(sequence_length(args, model, encoder_.max_text_tokens())),
        weights_hash_(hash_of_weights(*model.objective)) {
    model.objective->module().to(device_);
  }

  CommandResult run() {
    ImportOptions options;
    options.out = args_.out;
    options.rank = world_.rank();
    options.num_ranks = world_.size();
    const std::int64_t per_shard = samples_per_shard(
        length_ * encoder_.text_width() * 2, args_.batch, kShardSamples, options.shard_bytes);
    ImportSession session(options, manifest(), texts_->size(), per_shard);
    ProgressBar bar("encode", "texts", session.num_own_items());
    session.run([&](ImportSession::Filling& filling) { fill(filling, bar); });
    const at::Tensor counts = at::tensor({num_cut_, tokens_.num_invalid()}, at::kLong);
    world_.communicator().all_reduce(counts).wait();
    return world_.rank() == 0 ? finish(options, counts) : CommandResult{};
  }

 private:
  Manifest manifest() const {
    const std::int64_t D = encoder_.text_width();
    Manifest manifest;
    manifest.kind = "text_features";
    manifest.fields["context"] = {.dtype = DType::kFloat16, .shape = {length_, D}};
    manifest.fields["embedding"] = {.dtype = DType::kFloat32, .shape = {D}};
    manifest.attributes["weights_hash"] = weights_hash_;
    manifest.attributes["tokenizer_hash"] = tokenizer_->hash();
    manifest.attributes["sequence_length"] = std::to_string(length_);
    manifest.attributes["pool"] = encoder_.text_pooling();
    manifest.provenance["text"] = texts_->fingerprint();
    manifest.provenance["made_by"] = "kiln encode " + args_.of;
    return manifest;
  }

  void fill(ImportSession::Filling& filling, ProgressBar& bar) {
    const Range items = filling.items;
    for (std::int64_t begin = items.begin; begin < items.end; begin += args_.batch) {
      const Range some = {begin, std::min(begin + args_.batch, items.end)};
      append(filling.shard, read(some), some.size());
      bar.update(done_ += some.size());
    }
  }

  /// In batches of one size: the last is filled up, so that no result depends on its neighbours.
  Batch read(Range numbers) {
    Batch batch;
    batch.num_samples = args_.batch;
    const std::vector<std::int64_t> shape = {args_.batch, length_};
    at::Tensor& tokens = batch.tensors["tokens"] = at::empty(shape, at::kLong);
    at::Tensor& document = batch.tensors["document"] = at::empty(shape, at::kLong);
    batch.tensors["position"] = at::arange(length_, at::kLong).unsqueeze(0);
    for (std::int64_t row = 0; row < args_.batch; ++row) {
      if (row >= numbers.size()) {
        tokens[row].copy_(tokens[row - 1]);
        document[row].copy_(document[row - 1]);
        continue;
      }
      const auto ids = texts_->ids(numbers.begin + row, length_, tokens_);
      if (std::ssize(ids) > length_ - 2) ++num_cut_;
      const ModelInput input = make_input(tokenizer_->vocabulary(), ids, {}, length_);
      auto* token = tokens[row].data_ptr<std::int64_t>();
      auto* place = document[row].data_ptr<std::int64_t>();
      for (std::int64_t i = 0; i < length_; ++i) {
        token[i] = input.ids[static_cast<std::size_t>(i)];
        place[i] = input.mask[static_cast<std::size_t>(i)] - 1;  // -1: padding
      }
    }
    return batch;
  }

  void append(ShardWriter& shard, Batch batch, std::int64_t count) {
    for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device_);
    const TextEncoder::EncodedText made = encoder_.encode_text(batch);
    append_finite(shard, "context", made.context.narrow(0, 0, count).to(at::kCPU, at::kHalf));
    append_finite(shard, "embedding", made.embedding.narrow(0, 0, count).to(at::kCPU, at::kFloat));
  }

  void append_finite(ShardWriter& shard, const char* field, const at::Tensor& rows) const {
    if (!rows.isfinite().all().item<bool>()) {
      throw Error(ExitCode::kDiverged,
                  fmt::format("'{}' gives a text values that are not finite in {}: its weights are "
                              "damaged or have diverged",
                              args_.of, field));
    }
    append_tensor(shard, field, rows);
  }

  CommandResult finish(const ImportOptions& options, const at::Tensor& counts) {
    const Manifest made = finish_import(options).manifest;
    const auto cut = counts[0].item<std::int64_t>(), invalid = counts[1].item<std::int64_t>();
    if (invalid > 0) log_warning("dropped {} invalid UTF-8 sequences", invalid);
    log_info("{}: hidden states of {} texts, {} tokens each, {} texts cut", options.out.string(),
             made.num_samples, length_, cut);
    return {ExitCode::kDone,
            {{"path", options.out.string()},
             {"samples", made.num_samples},
             {"cut", cut},
             {"sequence_length", length_},
             {"weights_hash", weights_hash_},
             {"tokenizer_hash", tokenizer_->hash()},
             {"fingerprint", made.fingerprint()}}};
  }

  const EncodeArgs& args_;
  World& world_;
  TextEncoder& encoder_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<TextSamples> texts_;
  TokenEncoder tokens_;
  at::Device device_;
  std::int64_t length_;  // S
  std::string weights_hash_;
  std::int64_t num_cut_ = 0, done_ = 0;
};

}  // namespace

CommandResult encode_text(const EncodeArgs& args, const TrainedModel& model, World& world) {
  if (args.has_flips) throw usage_error("--flip is for images; '{}' encodes texts", args.of);
  return DatasetOfTexts(args, model, world).run();
}

}  // namespace kiln
