#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/error.h"
#include "data/importers/idx.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"

namespace kiln {
namespace {

std::string find_in_folder(const std::filesystem::path& folder, const std::string& name) {
  for (const std::string& candidate : {name, name + ".gz"}) {
    if (std::filesystem::exists(folder / candidate)) return (folder / candidate).string();
  }
  throw data_error("'{}' has neither '{}' nor '{}.gz'", folder.string(), name, name);
}

std::vector<std::string> input_files(const ImportOptions& options, const std::string& split) {
  if (options.inputs.size() == 1 && std::filesystem::is_directory(options.inputs[0])) {
    if (split != "train" && split != "test") {
      throw usage_error("there is no split '{}'; idx folders have train and test", split);
    }
    const std::string prefix = split == "train" ? "train" : "t10k";
    return {find_in_folder(options.inputs[0], prefix + "-images-idx3-ubyte"),
            find_in_folder(options.inputs[0], prefix + "-labels-idx1-ubyte")};
  }
  std::vector<std::string> files;
  for (const auto& input : options.inputs) files.push_back(input.string());
  if (files.empty() || files.size() > 2) {
    throw usage_error("idx takes a folder, or an images file and its labels file, not {} inputs",
                      files.size());
  }
  return files;
}

struct IdxPair {
  IdxFile images;
  IdxFile labels;  // no dims: none given
};

IdxPair read_pair(const ImportOptions& options, const std::string& split) {
  IdxPair pair;
  for (const std::string& path : input_files(options, split)) {
    IdxFile file = read_idx(path);
    const std::size_t num_dims = file.dims.size();
    if (num_dims != 1 && num_dims != 3 && num_dims != 4) {
      throw data_error("'{}' has {} dimensions; images have 3 or 4, labels 1", path, num_dims);
    }
    if (std::ranges::find(file.dims, 0) != file.dims.end()) {
      throw data_error("'{}' holds [{}] values: it is empty", path, fmt::join(file.dims, ", "));
    }
    IdxFile& slot = num_dims == 1 ? pair.labels : pair.images;
    if (!slot.dims.empty()) {
      throw data_error("'{}' and '{}' are both {} files", slot.path, path,
                       num_dims == 1 ? "labels" : "images");
    }
    slot = std::move(file);
  }
  if (pair.images.dims.empty()) throw data_error("no images file is among the inputs");
  if (!pair.labels.dims.empty() && pair.labels.dims[0] != pair.images.dims[0]) {
    throw data_error("'{}' has {} images but '{}' {} labels: they do not belong together",
                     pair.images.path, pair.images.dims[0], pair.labels.path, pair.labels.dims[0]);
  }
  return pair;
}

Manifest describe(const IdxPair& pair) {
  Manifest manifest;
  manifest.kind = "image";
  std::vector<std::int64_t> shape(pair.images.dims.begin() + 1, pair.images.dims.end());
  if (shape.size() == 2) shape.push_back(1);
  manifest.fields["image"] = {DType::kUInt8, shape, false, false, "raw"};
  manifest.provenance["importer"] = "idx";
  manifest.provenance["images"] = std::filesystem::path(pair.images.path).filename().string();
  if (pair.labels.values.empty()) return manifest;
  manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
  manifest.provenance["labels"] = std::filesystem::path(pair.labels.path).filename().string();
  const int largest = *std::max_element(pair.labels.values.begin(), pair.labels.values.end());
  for (int label = 0; label <= largest; ++label) {
    manifest.class_names.push_back(std::to_string(label));
  }
  return manifest;
}

}  // namespace

ImportResult import_idx(const ImportOptions& options, const std::string& split) {
  const IdxPair pair = read_pair(options, split);
  const Manifest manifest = describe(pair);
  const FieldInfo& image = manifest.fields.at("image");
  const std::int64_t image_bytes = image.row_bytes();
  const std::int64_t num_images = pair.images.dims[0];
  ImportSession session(options, manifest, num_images, options.shard_bytes / (image_bytes + 4));
  std::int64_t num_done = 0;
  return session.run([&](ImportSession::Filling& filling) {
    const Range items = filling.items;
    const std::uint8_t* pixels = pair.images.values.data() + items.begin * image_bytes;
    filling.shard.append_rows("image",
                              {pixels, static_cast<std::size_t>(items.size() * image_bytes)});
    filling.sums.add(pixels, items.size() * image_bytes / image.shape[2], image.shape[2]);
    for (std::int64_t i = items.begin; i < items.end && !pair.labels.values.empty(); ++i) {
      filling.shard.append_value<std::int32_t>("label",
                                               pair.labels.values[static_cast<std::size_t>(i)]);
    }
    num_done += items.size();
    if (options.progress) options.progress(num_done, session.num_own_items());
  });
}

}  // namespace kiln
