#include "data/images/image_source.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/images/crop.h"
#include "data/images/decode.h"
#include "data/images/mirror.h"
#include "data/images/resize.h"
#include "data/store/host_tensor.h"
#include "data/store/image_layout.h"
#include "data/store/labels.h"

namespace kiln {
namespace {

bool is_encoded(const FieldInfo& field) { return field.encoding == "image"; }

class ImageSource : public BatchSource {
 public:
  ImageSource(std::shared_ptr<const Dataset> dataset, const ImageOptions& options,
              std::uint64_t seed)
      : dataset_(std::move(dataset)),
        options_(options),
        filter_(options.interpolation == "bilinear" ? Filter::kBilinear : Filter::kBicubic),
        seed_(seed),
        field_(image_field(*dataset_)),
        info_(describe_images(*dataset_, options)),
        max_pixels_(max_pixels_of(*dataset_)),
        has_labels_(dataset_->manifest().fields.contains("label")) {}

  std::int64_t num_samples() const override { return dataset_->num_samples(); }
  std::int64_t block_samples() const override { return dataset_->shard_samples(); }
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
      const std::int64_t position = positions_begin + static_cast<std::int64_t>(i);
      const Dataset::Place place = dataset_->locate(ids[i]);
      const auto shard = dataset_->shard(place.shard);
      read_image(*shard, ids[i], place.row, position, image);
      if (has_labels_) {
        batch.at("label").data_ptr<std::int64_t>()[row_begin + static_cast<std::int64_t>(i)] =
            read_label(*shard, place.row);
      }
    }
  }

 private:
  void read_image(const Shard& shard, std::int64_t id, std::int64_t row, std::int64_t position,
                  std::uint8_t* out) const {
    thread_local Image memory;
    if (is_encoded(field_)) {
      thread_local std::vector<std::uint8_t> file;
      shard.read_row("image", row, file);
      try {
        ImageDecoder decoder(file, max_pixels_);
        const Framing framing = frame(decoder.width(), decoder.height(), position);
        make(decoder.decode(framing.region, info_.channels, memory), framing, out);
      } catch (const std::exception& error) {
        throw data_error("{}: the image cannot be decoded: {}", describe(id), error.what());
      }
    } else if (is_stored_as_seen()) {
      shard.read_rows("image", row, 1, out);
      if (is_mirrored(position)) mirror_lines(out, info_.height, info_.width, info_.channels);
    } else {
      memory.reshape(field_.shape[1], field_.shape[0], info_.channels);
      shard.read_rows("image", row, 1, memory.pixels.data());
      const Framing framing = frame(memory.width, memory.height, position);
      make({memory, framing.region}, framing, out);
    }
  }

  void make(const ImageView& region, const Framing& framing, std::uint8_t* out) const {
    resize(region, framing.width, framing.height, filter_, framing.window, framing.is_mirrored,
           out);
  }

  bool is_stored_as_seen() const {
    return options_.crop != "random_resized" && field_.shape[0] == info_.height &&
           field_.shape[1] == info_.width;
  }

  bool is_mirrored(std::int64_t position) const {
    return options_.flip && Philox(seed_, Purpose::kFlip, position).uniform(0) >= 0.5f;
  }

  Framing frame(std::int64_t width, std::int64_t height, std::int64_t position) const {
    Framing framing;
    if (options_.crop == "center") {
      framing = frame_center(width, height, info_.width);
    } else if (options_.crop == "none") {
      framing = {{0, 0, width, height}, width, height, {0, 0, width, height}};
    } else {
      const Philox stream(seed_, Purpose::kCrop, position);
      framing = frame_region(
          random_resized_crop(stream, width, height, options_.crop_scale, options_.crop_ratio),
          info_.width);
    }
    framing.is_mirrored = is_mirrored(position);
    return framing;
  }

  std::shared_ptr<const Dataset> dataset_;
  ImageOptions options_;
  Filter filter_;
  std::uint64_t seed_;
  FieldInfo field_;
  DatasetInfo info_;
  std::int64_t max_pixels_;
  bool has_labels_;
};

// The side of the model's images, or a reason why there is none.
void set_size(DatasetInfo& info, const Dataset& dataset, const FieldInfo& field,
              const ImageOptions& options) {
  if (!options.views.empty()) {
    info.height = info.width = options.views.front().size;
    return;
  }
  if (options.size > 0) {
    info.height = info.width = options.size;
  } else if (is_encoded(field)) {
    throw data_error("the images of '{}' have many sizes: give data.size, the side the model sees",
                     dataset.folder().string());
  } else {
    info.height = field.shape[0];
    info.width = field.shape[1];
  }
  if (info.height != info.width && options.crop != "none") {
    throw data_error("the images of '{}' are {} x {}: give data.size, the side of a square crop",
                     dataset.folder().string(), info.height, info.width);
  }
  const bool has_other_size =
      is_encoded(field) || field.shape[0] != info.height || field.shape[1] != info.width;
  if (options.crop == "none" && has_other_size) {
    throw data_error(
        "the images of '{}' are not all {} x {}: set data.crop to \"random_resized\" or \"center\"",
        dataset.folder().string(), info.height, info.width);
  }
}

}  // namespace

const FieldInfo& image_field(const Dataset& dataset) {
  const auto found = dataset.manifest().fields.find("image");
  if (found == dataset.manifest().fields.end()) {
    throw data_error("the dataset '{}' is of kind '{}' and has no field 'image'",
                     dataset.folder().string(), dataset.manifest().kind);
  }
  const FieldInfo& field = found->second;
  if (is_encoded(field) && field.dtype == DType::kUInt8) return field;
  const std::string what = fmt::format("'{}', field 'image'", dataset.folder().string());
  // What was imported is channels last, whatever its shape looks like.
  const bool is_foreign = !dataset.mapping().empty();
  const ImageForm form =
      image_form(field, is_foreign ? ImageLayout::kAuto : ImageLayout::kChannelsLast, what);
  if (form.is_channels_first) {
    throw data_error(
        "{}: rows of [{}] look like {} x {} pixels, channels first; in place images are read "
        "channels last. `kiln data import hdf5 ... --field image={}` turns them",
        what, fmt::join(field.shape, ", "), form.height, form.width, dataset.mapping().at("image"));
  }
  return field;
}

std::int64_t max_pixels_of(const Dataset& dataset) {
  const auto& attributes = dataset.manifest().attributes;
  const auto found = attributes.find("max_pixels");
  return found == attributes.end() ? kMostPixels : std::stoll(found->second);
}

std::shared_ptr<const Dataset> open_dataset(const DataOptions& options) {
  FieldPaths mapping;
  if (options.image_path) mapping["image"] = *options.image_path;
  if (options.label_path) mapping["label"] = *options.label_path;
  if (options.tokens_path) mapping["tokens"] = *options.tokens_path;
  if (options.moments_path) mapping["moments"] = *options.moments_path;
  auto dataset = std::make_shared<const Dataset>(options.path, mapping);
  dataset->warn_if_slow();
  return dataset;
}

DatasetInfo describe_images(const Dataset& dataset, const ImageOptions& options) {
  const FieldInfo& field = image_field(dataset);
  const Manifest& manifest = dataset.manifest();
  DatasetInfo info;
  info.kind = "image";
  info.num_samples = dataset.num_samples();
  info.fingerprint = manifest.fingerprint();
  set_size(info, dataset, field, options);
  info.channels = field.shape.size() == 3 ? field.shape[2] : 1;
  if (is_encoded(field)) {
    const auto channels = manifest.attributes.find("channels");
    info.channels = channels == manifest.attributes.end() ? 3 : std::stoll(channels->second);
  }
  info.mean = options.mean.empty() ? manifest.mean : options.mean;
  info.std = options.std.empty() ? manifest.std : options.std;
  info.class_names = manifest.class_names;
  for (std::size_t group = 0; group < options.views.size(); ++group) {
    const ViewOptions& views = options.views[group];
    info.views.insert(info.views.end(), static_cast<std::size_t>(views.count),
                      {static_cast<std::int64_t>(group), views.size});
  }
  const auto wanted = static_cast<std::size_t>(info.channels);
  if (info.mean.empty()) info.mean.assign(wanted, 0.5);
  if (info.std.empty()) info.std.assign(wanted, 0.5);
  if (info.mean.size() != wanted || info.std.size() != wanted) {
    throw data_error(
        "data.mean and data.std have {} and {} numbers; the images of '{}' have {} channels",
        info.mean.size(), info.std.size(), dataset.folder().string(), wanted);
  }
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
  if (!options.views.empty()) {
    options.crop = "center";
    options.size = options.views.front().size;
    options.interpolation = options.views.front().interpolation;
    options.views.clear();
  }
  return options;
}

}  // namespace kiln
