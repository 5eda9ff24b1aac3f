#include <zlib.h>

#include <algorithm>
#include <memory>

#include "core/base/error.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"

namespace kiln {
namespace {

struct IdxFile {
  std::string path;
  std::vector<std::int64_t> dims;
  std::vector<std::uint8_t> values;
};

// zlib reads plain files through the same calls.
std::vector<std::uint8_t> read_unzipped(const std::string& path) {
  if (!std::filesystem::exists(path)) throw data_error("there is no file '{}'", path);
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) throw data_error("cannot open '{}'", path);
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> piece(1 << 20);
  while (true) {
    const int count = gzread(file.get(), piece.data(), static_cast<unsigned>(piece.size()));
    if (count > 0) bytes.insert(bytes.end(), piece.begin(), piece.begin() + count);
    if (count < static_cast<int>(piece.size())) break;
  }
  int code = Z_OK;
  const char* reason = gzerror(file.get(), &code);
  if (code != Z_OK) {
    throw data_error("'{}' is damaged or cut short: {}; fetch it again", path, reason);
  }
  return bytes;
}

// Header: 0, 0, type (8: unsigned byte), number of dimensions, then each dimension as big-endian
// 32-bit integer.
IdxFile read_idx(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_unzipped(path);
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0) {
    throw data_error("'{}' is not an idx file: it does not begin with two zero bytes", path);
  }
  if (bytes[2] != 8) {
    throw data_error("'{}' holds values of idx type {:#x}; only unsigned bytes (0x8) are read",
                     path, bytes[2]);
  }
  IdxFile file = {path, {}, {}};
  const std::size_t header = 4 + std::size_t{4} * bytes[3];
  if (bytes.size() < header) throw data_error("'{}' ends within its header", path);
  std::int64_t expected = 1;
  for (std::size_t at = 4; at < header; at += 4) {
    file.dims.push_back(std::int64_t{bytes[at]} << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 |
                        bytes[at + 3]);
    expected *= file.dims.back();
  }
  const auto found = static_cast<std::int64_t>(bytes.size() - header);
  if (found != expected) {
    throw data_error("'{}' announces {} values but holds {}: it is truncated or not what it says",
                     path, expected, found);
  }
  file.values.assign(bytes.begin() + static_cast<std::int64_t>(header), bytes.end());
  return file;
}

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
