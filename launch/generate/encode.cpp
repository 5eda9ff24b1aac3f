#include "launch/generate/encode.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"
#include "data/latents/context_source.h"
#include "data/loader.h"
#include "data/store/dataset.h"
#include "launch/generate/encode_text.h"
#include "launch/generate/encoded_rows.h"
#include "launch/run/device.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"
#include "launch/trained/trained_model.h"
#include "models/capabilities.h"
#include "models/layers/gaussian.h"

namespace kiln {
namespace {

constexpr std::int64_t kShardImages = 8192;

class DatasetEncoder {
 public:
  DatasetEncoder(const EncodeArgs& args, const TrainedModel& model, World& world)
      : args_(args),
        world_(world),
        codec_(*model.find<LatentCodec>()),
        device_(choose_device(args.device, world)),
        hash_(hash_of_weights(*model.objective)) {
    model.objective->module().to(device_);
    open_images();
    if (!args.context.empty()) open_context();
  }

  CommandResult run() {
    ImportOptions options;
    options.out = args_.out;
    options.rank = world_.rank();
    options.num_ranks = world_.size();
    const Manifest plan = manifest();
    std::int64_t row_bytes = 0;  // embeddings of texts may be larger than the latents
    for (const auto& [name, field] : plan.fields) row_bytes += field.row_bytes();
    const std::int64_t per_shard =
        samples_per_shard(row_bytes, args_.batch, kShardImages, options.shard_bytes);
    const std::int64_t num_items = images_.info.num_samples * (args_.has_flips ? 2 : 1);
    ImportSession session(options, plan, num_items, per_shard);
    // Per shard: sum, sum of squares and number of sampled latent values.
    at::Tensor sums = at::zeros({(num_items + per_shard - 1) / per_shard, 3}, at::kDouble);
    ProgressBar bar("encode", "images", session.num_own_items());
    session.run([&](ImportSession::Filling& filling) {
      fill(filling, sums[filling.items.begin / per_shard], bar);
    });
    // Each row is one rank's: sums over rows are the same for any number of ranks.
    world_.communicator().all_reduce(sums).wait();
    return world_.rank() == 0 ? finish(options, sums.sum(0)) : CommandResult{};
  }

 private:
  void open_images() {
    // The images as they are, but for what the words say: no random crop, no flip.
    std::vector<std::string> overrides = args_.overrides;
    overrides.push_back("data.path=" + args_.data);
    RecipeReader reader = RecipeReader::from_text("", "encode", overrides);
    images_ = open_data(reader, Recipe{}, "image", DataUse::kEvaluation);
    reader.finish();
    try {
      latent_shape_ =
          codec_.latent_shape({images_.info.height, images_.info.width, images_.info.channels});
    } catch (const Error& error) {
      throw Error(error.code(),
                  fmt::format("'{}' for '{}': {}", args_.data, args_.of, error.what()));
    }
  }

  void open_context() {
    const auto dataset = std::make_shared<const Dataset>(args_.context);
    context_ = make_context_source(dataset);  // throws where there is none
    context_field_ = *find_context(*dataset);
    context_fingerprint_ = dataset->manifest().fingerprint();
    if (dataset->num_samples() != images_.info.num_samples) {
      throw usage_error(
          "'{}' has {} texts for the {} images of '{}': row i of the one belongs to image i of "
          "the other",
          args_.context, dataset->num_samples(), images_.info.num_samples, args_.data);
    }
  }

  Manifest manifest() const {
    Manifest manifest;
    manifest.kind = "latent";
    manifest.fields["moments"] = {
        .dtype = DType::kFloat16,
        .shape = {2 * latent_shape_[0], latent_shape_[1], latent_shape_[2]}};
    if (has_labels()) manifest.fields["label"] = {.dtype = DType::kInt32};
    if (context_) {
      manifest.fields["context"] = context_field_;
      manifest.provenance["context"] = context_fingerprint_;
    }
    manifest.class_names = images_.info.class_names;
    manifest.attributes["autoencoder_hash"] = hash_;
    manifest.provenance["images"] = images_.info.fingerprint;
    manifest.provenance["made_by"] = "kiln encode " + args_.of;
    return manifest;
  }

  bool has_labels() const { return !images_.info.class_names.empty(); }

  void fill(ImportSession::Filling& filling, at::Tensor sums, ProgressBar& bar) {
    const DatasetReader reader(images_.source, world_.cores());
    const std::int64_t N = images_.info.num_samples;
    for (std::int64_t begin = filling.items.begin; begin < filling.items.end;) {
      // The second half of the items are the mirror images of the first.
      const bool is_flipped = begin >= N;
      const std::int64_t end =
          std::min({begin + args_.batch, filling.items.end, is_flipped ? 2 * N : N});
      const Batch batch = reader.read(begin % N, (end - 1) % N + 1);
      append(filling.shard, batch, is_flipped, sums);
      if (context_) {
        const DatasetReader texts(context_, world_.cores());
        const at::Tensor rows = texts.read(begin % N, (end - 1) % N + 1).at("context");
        append_tensor(filling.shard, "context", rows);
      }
      bar.update(done_ += end - begin);
      begin = end;
    }
  }

  void append(ShardWriter& shard, const Batch& batch, bool is_flipped, at::Tensor& sums) {
    const at::NoGradGuard no_grad;
    at::Tensor images = batch.at("image").to(device_);
    if (is_flipped) images = images.flip({2});
    const at::Tensor moments = encode(images).to(at::kCPU, at::kHalf).contiguous();
    const auto posterior = DiagonalGaussian::from_moments(moments.to(at::kDouble));
    sums[0] += posterior.mean.sum();
    sums[1] += (posterior.mean.square() + posterior.log_variance.exp()).sum();
    sums[2] += static_cast<double>(posterior.mean.numel());
    append_tensor(shard, "moments", moments);
    if (has_labels()) append_tensor(shard, "label", batch.at("label").to(at::kInt));
  }

  /// In batches of one size: the last is filled up, so that no result depends on its neighbours.
  at::Tensor encode(const at::Tensor& images) {
    const std::int64_t count = images.size(0), missing = args_.batch - count;
    const at::Tensor filled =
        missing > 0
            ? at::cat({images, images.narrow(0, count - 1, 1).expand({missing, -1, -1, -1})})
            : images;
    return codec_.moments(filled).narrow(0, 0, count);
  }

  CommandResult finish(const ImportOptions& options, const at::Tensor& sums) {
    const double n = sums[2].item<double>(), mean = sums[0].item<double>() / n;
    const double std = std::sqrt(sums[1].item<double>() / n - mean * mean);
    Manifest made = finish_import(options).manifest;
    made.attributes["latent_scale"] = fmt::format("{:.17g}", 1.0 / std);
    write_manifest(options.out, made);
    log_info("{}: latents of {} images, scale {:.5f}", options.out.string(), made.num_samples,
             1.0 / std);
    return {ExitCode::kDone,
            {{"path", options.out.string()},
             {"samples", made.num_samples},
             {"latent_scale", 1.0 / std},
             {"autoencoder_hash", hash_},
             {"fingerprint", made.fingerprint()}}};
  }

  const EncodeArgs& args_;
  World& world_;
  LatentCodec& codec_;
  at::Device device_;
  std::string hash_;
  OpenedData images_;
  std::vector<std::int64_t> latent_shape_;      // E, h, w
  std::shared_ptr<const BatchSource> context_;  // null without texts
  FieldInfo context_field_;
  std::string context_fingerprint_;
  std::int64_t done_ = 0;
};

}  // namespace

CommandResult encode_dataset(const EncodeArgs& args) {
  if (args.batch < 1) throw usage_error("--batch {}: at least one", args.batch);
  return run_in_world(600, [&](World& world) {
    at::set_num_threads(static_cast<int>(args.threads > 0 ? args.threads : world.cores()));
    const TrainedModel model = TrainedModel::open({.path = args.of, .reads_data = false});
    if (model.find<TextEncoder>()) return encode_text(args, model, world);
    model.as<LatentCodec>("encodes neither images nor texts");
    return DatasetEncoder(args, model, world).run();
  });
}

}  // namespace kiln
