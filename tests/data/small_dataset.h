#pragma once

#include <array>
#include <filesystem>
#include <memory>

#include "data/images/image_source.h"
#include "data/store/dataset.h"
#include "data/store/shard_writer.h"

namespace kiln {

/// Images of 4 x 3 grey pixels whose values tell which sample they are; label = id.
inline Manifest write_numbered_images(const std::filesystem::path& folder, std::int64_t num_samples,
                                      std::int64_t samples_per_shard) {
  Manifest manifest;
  manifest.kind = "image";
  manifest.fields["image"] = {DType::kUInt8, {4, 3, 1}, false, false, "raw"};
  manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
  DatasetWriter writer(folder, manifest, samples_per_shard * 16);
  for (std::int64_t id = 0; id < num_samples; ++id) {
    std::array<std::uint8_t, 12> pixels = {};
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<std::uint8_t>((id * 31 + static_cast<std::int64_t>(i) * 7) % 251);
    }
    writer.append("image", pixels);
    writer.append_value<std::int32_t>("label", static_cast<std::int32_t>(id));
    writer.end_sample();
  }
  return writer.finish();
}

inline std::shared_ptr<const BatchSource> open_images(const std::filesystem::path& folder,
                                                      ImageOptions options = {}) {
  return make_image_source(std::make_shared<const Dataset>(folder), options, 1);
}

}  // namespace kiln
