#include "data/latents/latent_source.h"

#include <string>

#include "core/base/error.h"
#include "data/latents/context_source.h"
#include "data/store/host_tensor.h"
#include "data/store/labels.h"

namespace kiln {
namespace {

const FieldInfo& moments_field(const Dataset& dataset) {
  const auto found = dataset.manifest().fields.find("moments");
  if (found == dataset.manifest().fields.end() || found->second.dtype != DType::kFloat16 ||
      found->second.shape.size() != 3 || found->second.shape[0] % 2 != 0) {
    throw data_error(
        "the dataset '{}' is of kind '{}' and has no field 'moments' of float16 [2C, H, W]; make "
        "one with `kiln encode`",
        dataset.folder().string(), dataset.manifest().kind);
  }
  return found->second;
}

class LatentSource : public BatchSource {
 public:
  explicit LatentSource(std::shared_ptr<const Dataset> dataset)
      : dataset_(std::move(dataset)),
        field_(moments_field(*dataset_)),
        context_(find_context(*dataset_)),
        has_labels_(dataset_->manifest().fields.contains("label")) {}

  std::int64_t num_samples() const override { return dataset_->num_samples(); }
  std::string describe(std::int64_t id) const override { return dataset_->describe(id); }

  Batch allocate(std::int64_t num_samples) const override {
    Batch batch;
    batch.num_samples = num_samples;
    batch.tensors["moments"] = host_tensor(
        HostType::kFloat16, {num_samples, field_.shape[0], field_.shape[1], field_.shape[2]});
    if (context_) {
      batch.tensors["context"] =
          host_tensor(HostType::kFloat16, {num_samples, context_->shape[0], context_->shape[1]});
    }
    if (has_labels_) batch.tensors["label"] = host_tensor(HostType::kInt64, {num_samples});
    return batch;
  }

  void read(std::span<const std::int64_t> ids, std::int64_t, Batch& batch,
            std::int64_t row_begin) const override {
    auto* moments = static_cast<std::uint8_t*>(batch.at("moments").data_ptr());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::int64_t row = row_begin + static_cast<std::int64_t>(i);
      const Dataset::Place place = dataset_->locate(ids[i]);
      const auto shard = dataset_->shard(place.shard);
      shard->read_rows("moments", place.row, 1, moments + row * field_.row_bytes());
      if (context_) {
        auto* context = static_cast<std::uint8_t*>(batch.at("context").data_ptr());
        shard->read_rows("context", place.row, 1, context + row * context_->row_bytes());
      }
      if (has_labels_) {
        batch.at("label").data_ptr<std::int64_t>()[row] = read_label(*shard, place.row);
      }
    }
  }

 private:
  std::shared_ptr<const Dataset> dataset_;
  FieldInfo field_;
  const FieldInfo* context_;  // within dataset_
  bool has_labels_;
};

}  // namespace

DatasetInfo describe_latents(const Dataset& dataset) {
  const FieldInfo& field = moments_field(dataset);
  DatasetInfo info;
  info.kind = "latent";
  info.num_samples = dataset.num_samples();
  info.fingerprint = dataset.manifest().fingerprint();
  info.channels = field.shape[0] / 2;
  info.height = field.shape[1];
  info.width = field.shape[2];
  info.class_names = dataset.manifest().class_names;
  const auto& attributes = dataset.manifest().attributes;
  for (const char* name : {"autoencoder_hash", "latent_scale"}) {
    if (const auto found = attributes.find(name); found != attributes.end()) {
      info.facts[name] = found->second;
    }
  }
  return info;
}

std::shared_ptr<const BatchSource> make_latent_source(std::shared_ptr<const Dataset> dataset) {
  return std::make_shared<LatentSource>(std::move(dataset));
}

}  // namespace kiln
