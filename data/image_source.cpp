#include "data/image_source.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/philox.h"
#include "data/host_tensor.h"

namespace kiln {
namespace {

const FieldInfo& image_field(const Dataset& dataset) {
  const auto found = dataset.manifest().fields.find("image");
  if (found == dataset.manifest().fields.end()) {
    throw data_error("the dataset '{}' is of kind '{}' and has no field 'image'",
                     dataset.folder().string(), dataset.manifest().kind);
  }
  const FieldInfo& field = found->second;
  const bool is_fixed = !field.is_ragged && (field.shape.size() == 2 || field.shape.size() == 3);
  if (field.dtype != DType::kUInt8 || !is_fixed) {
    throw data_error("'{}', field 'image': images are uint8 [H, W] or [H, W, C]",
                     dataset.folder().string());
  }
  return field;
}

void flip_row(std::uint8_t* row, std::int64_t width, std::int64_t channels) {
  for (std::int64_t left = 0, right = width - 1; left < right; ++left, --right) {
    std::swap_ranges(row + left * channels, row + (left + 1) * channels, row + right * channels);
  }
}

class ImageSource : public BatchSource {
 public:
  ImageSource(std::shared_ptr<const Dataset> dataset, const ImageOptions& options,
              std::uint64_t seed)
      : dataset_(std::move(dataset)),
        options_(options),
        seed_(seed),
        info_(describe_images(*dataset_, options)),
        has_labels_(dataset_->manifest().fields.contains("label")) {}

  std::int64_t num_samples() const override { return dataset_->num_samples(); }
  std::string describe(std::int64_t id) const override { return dataset_->describe(id); }

  Batch allocate(std::int64_t num_samples) const override {
    Batch batch;
    batch.num_samples = num_samples;
    batch.tensors["image"] =
        host_tensor(HostType::kUInt8, {num_samples, info_.height, info_.width, info_.channels});
    if (has_labels_) batch.tensors["label"] = host_tensor(HostType::kInt64, {num_samples});
    return batch;
  }

  void read(std::span<const std::int64_t> ids, std::int64_t positions_begin, Batch& batch,
            std::int64_t row_begin) const override {
    const std::int64_t image_bytes = info_.height * info_.width * info_.channels;
    auto* image = batch.at("image").data_ptr<std::uint8_t>() + row_begin * image_bytes;
    for (std::size_t i = 0; i < ids.size(); ++i, image += image_bytes) {
      const Dataset::Place place = dataset_->locate(ids[i]);
      const auto shard = dataset_->shard(place.shard);
      shard->read_rows("image", place.row, 1, image);
      if (options_.flip) flip(image, positions_begin + static_cast<std::int64_t>(i));
      if (has_labels_) {
        batch.at("label").data_ptr<std::int64_t>()[row_begin + static_cast<std::int64_t>(i)] =
            read_label(*shard, place.row);
      }
    }
  }

 private:
  void flip(std::uint8_t* image, std::int64_t position) const {
    if (Philox(seed_, Purpose::kFlip, position).uniform(0) < 0.5f) return;
    for (std::int64_t y = 0; y < info_.height; ++y) {
      flip_row(image + y * info_.width * info_.channels, info_.width, info_.channels);
    }
  }

  std::int64_t read_label(const Shard& shard, std::int64_t row) const {
    std::array<std::uint8_t, 8> bytes = {};
    shard.read_rows("label", row, 1, bytes.data());
    return integer_at(shard.layout("label").info.dtype, bytes.data());
  }

  std::shared_ptr<const Dataset> dataset_;
  ImageOptions options_;
  std::uint64_t seed_;
  DatasetInfo info_;
  bool has_labels_;
};

}  // namespace

std::shared_ptr<const Dataset> open_dataset(const DataOptions& options) {
  FieldPaths mapping;
  if (options.image_path) mapping["image"] = *options.image_path;
  if (options.label_path) mapping["label"] = *options.label_path;
  if (options.tokens_path) mapping["tokens"] = *options.tokens_path;
  if (options.moments_path) mapping["moments"] = *options.moments_path;
  return std::make_shared<const Dataset>(options.path, mapping);
}

DatasetInfo describe_images(const Dataset& dataset, const ImageOptions& options) {
  const FieldInfo& field = image_field(dataset);
  const Manifest& manifest = dataset.manifest();
  DatasetInfo info;
  info.kind = "image";
  info.num_samples = dataset.num_samples();
  info.fingerprint = manifest.fingerprint();
  info.height = field.shape[0];
  info.width = field.shape[1];
  info.channels = field.shape.size() == 3 ? field.shape[2] : 1;
  info.mean = options.mean.empty() ? manifest.mean : options.mean;
  info.std = options.std.empty() ? manifest.std : options.std;
  info.class_names = manifest.class_names;
  return info;
}

std::shared_ptr<const BatchSource> make_image_source(std::shared_ptr<const Dataset> dataset,
                                                     const ImageOptions& options,
                                                     std::uint64_t seed) {
  return std::make_shared<ImageSource>(std::move(dataset), options, seed);
}

ImageOptions evaluation_options(ImageOptions options) {
  if (options.crop == "random_resized") options.crop = "center";
  options.flip = false;
  return options;
}

}  // namespace kiln
