#include "data/views/view_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/image_source.h"
#include "data/store/host_tensor.h"
#include "data/store/labels.h"
#include "data/views/augment.h"

namespace kiln {
namespace {

// The smallest box that holds both.
Box around(const Box& a, const Box& b) {
  const std::int64_t left = std::min(a.left, b.left), top = std::min(a.top, b.top);
  return {left, top, std::max(a.left + a.width, b.left + b.width) - left,
          std::max(a.top + a.height, b.top + b.height) - top};
}

// `box` of the picture out of pixels that begin at `origin`.
ImageView part_of(ImageView pixels, const Box& origin, const Box& box) {
  pixels.pixels = pixels.row(box.top - origin.top) + (box.left - origin.left) * pixels.channels;
  pixels.width = box.width;
  pixels.height = box.height;
  return pixels;
}

class ViewSource : public BatchSource {
 public:
  ViewSource(std::shared_ptr<const Dataset> dataset, const ImageOptions& options,
             std::uint64_t seed)
      : dataset_(std::move(dataset)),
        seed_(seed),
        field_(image_field(*dataset_)),
        channels_(describe_images(*dataset_, options).channels),
        max_pixels_(max_pixels_of(*dataset_)),
        has_labels_(dataset_->manifest().fields.contains("label")) {
    for (const ViewOptions& group : options.views) {
      for (std::int64_t i = 0; i < group.count; ++i) {
        views_.push_back({fmt::format("image.{}", views_.size()), group});
      }
    }
  }

  std::int64_t num_samples() const override { return dataset_->num_samples(); }
  std::int64_t block_samples() const override { return dataset_->shard_samples(); }
  std::string describe(std::int64_t id) const override { return dataset_->describe(id); }

  Batch allocate(std::int64_t num_samples) const override {
    Batch batch;
    batch.num_samples = num_samples;
    for (const View& view : views_) {
      const std::int64_t size = view.options.size;
      batch.tensors[view.name] =
          host_tensor(HostType::kUInt8, {num_samples, size, size, channels_});
    }
    if (has_labels_) batch.tensors["label"] = host_tensor(HostType::kInt64, {num_samples});
    return batch;
  }

  void read(std::span<const std::int64_t> ids, std::int64_t positions_begin, Batch& batch,
            std::int64_t row_begin) const override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto offset = static_cast<std::int64_t>(i);
      const Dataset::Place place = dataset_->locate(ids[i]);
      const auto shard = dataset_->shard(place.shard);
      read_views(*shard, ids[i], place.row, positions_begin + offset, batch, row_begin + offset);
      if (has_labels_) {
        batch.at("label").data_ptr<std::int64_t>()[row_begin + offset] =
            read_label(*shard, place.row);
      }
    }
  }

 private:
  struct View {
    std::string name;
    ViewOptions options;
  };

  void read_views(const Shard& shard, std::int64_t id, std::int64_t row, std::int64_t position,
                  Batch& batch, std::int64_t batch_row) const {
    thread_local Image memory;
    if (field_.encoding != "image") {
      memory.reshape(field_.shape[1], field_.shape[0], channels_);
      shard.read_rows("image", row, 1, memory.pixels.data());
      const std::vector<ViewDraw> draws = draw(memory.width, memory.height, position);
      make(memory, {0, 0, memory.width, memory.height}, draws, batch, batch_row);
      return;
    }
    thread_local std::vector<std::uint8_t> file;
    shard.read_row("image", row, file);
    try {
      ImageDecoder decoder(file, max_pixels_);
      const std::vector<ViewDraw> draws = draw(decoder.width(), decoder.height(), position);
      Box seen = draws.front().region;
      for (const ViewDraw& view : draws) seen = around(seen, view.region);
      make(decoder.decode(seen, channels_, memory), seen, draws, batch, batch_row);
    } catch (const std::exception& error) {
      throw data_error("{}: the image cannot be decoded: {}", describe(id), error.what());
    }
  }

  std::vector<ViewDraw> draw(std::int64_t width, std::int64_t height, std::int64_t position) const {
    std::vector<ViewDraw> draws;
    draws.reserve(views_.size());
    for (const View& view : views_) {
      const std::int64_t number = std::ssize(draws);
      draws.push_back(draw_view(view.options, seed_, position, number, width, height));
    }
    return draws;
  }

  // `pixels` are those of the box `origin`.
  void make(const ImageView& pixels, const Box& origin, const std::vector<ViewDraw>& draws,
            Batch& batch, std::int64_t row) const {
    for (std::size_t v = 0; v < views_.size(); ++v) {
      const auto& [name, options] = views_[v];
      const std::int64_t num_bytes = options.size * options.size * channels_;
      make_view(part_of(pixels, origin, draws[v].region), options, draws[v],
                batch.at(name).data_ptr<std::uint8_t>() + row * num_bytes);
    }
  }

  std::shared_ptr<const Dataset> dataset_;
  std::uint64_t seed_;
  FieldInfo field_;
  std::int64_t channels_;
  std::int64_t max_pixels_;
  bool has_labels_;
  std::vector<View> views_;
};

}  // namespace

std::shared_ptr<const BatchSource> make_view_source(std::shared_ptr<const Dataset> dataset,
                                                    const ImageOptions& options,
                                                    std::uint64_t seed) {
  return std::make_shared<ViewSource>(std::move(dataset), options, seed);
}

}  // namespace kiln
