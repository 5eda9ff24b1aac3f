#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/error.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"
#include "data/store/dataset.h"
#include "data/store/hdf5_handle.h"

namespace kiln {
namespace {

// Rows copied at a time: chunked files are read well only in runs.
constexpr std::int64_t kRunRows = 256;

// What a user can choose from.
std::string list_arrays(const std::filesystem::path& path) {
  const auto lock = hdf5_lock();
  const H5Handle file = open_hdf5(path);
  std::vector<std::string> arrays;
  // The third argument's type has another name from HDF5 1.12 on. Nothing may be thrown through C.
  const auto note = [](hid_t root, const char* name, const auto*, void* list) -> herr_t {
    try {
      if (!hdf5_is_dataset(root, name, name)) return 0;
      const H5Handle dataset(H5Dopen2(root, name, H5P_DEFAULT), H5Dclose, name);
      static_cast<std::vector<std::string>*>(list)->push_back(
          fmt::format("/{} [{}]", name, fmt::join(shape_of(dataset.get()), ", ")));
    } catch (const Error&) {
      static_cast<std::vector<std::string>*>(list)->push_back(
          fmt::format("/{} [cannot be opened]", name));
    }
    return 0;
  };
  H5Ovisit2(file.get(), H5_INDEX_NAME, H5_ITER_NATIVE, note, &arrays, H5O_INFO_BASIC);
  return fmt::format("{}", fmt::join(arrays, ", "));
}

bool is_dataset(const ImportOptions& options) {
  return options.inputs.size() == 1 && std::filesystem::exists(options.inputs[0] / "dataset.json");
}

// Without a word on fields there is nothing to copy: says what there is.
Error missing_fields(const std::filesystem::path& first) {
  return usage_error("say which arrays are imported as which fields: --field image=/path; {}",
                     std::filesystem::is_directory(first)
                         ? "the arrays of a file are listed when it is given alone"
                         : fmt::format("'{}' has {}", first.string(), list_arrays(first)));
}

std::int64_t bytes_of(const Dataset& dataset) {
  std::int64_t bytes = 0;
  for (std::int64_t number = 0; number < dataset.num_shards(); ++number) {
    const auto shard = dataset.shard(number);
    for (const auto& [field, info] : dataset.manifest().fields) {
      bytes += shard->layout(field).num_values * size_bytes(info.dtype);
    }
  }
  return bytes;
}

std::int64_t channels_of(const FieldInfo& image) {
  return image.shape.size() == 3 ? image.shape[2] : 1;
}

// Images whose mean and deviation nobody knows yet.
bool needs_sums(const Manifest& manifest, const std::string& field) {
  const FieldInfo& info = manifest.fields.at(field);
  return field == "image" && manifest.mean.empty() && !info.is_ragged &&
         info.dtype == DType::kUInt8 && info.shape.size() >= 2;
}

// Rows [items.begin, items.end) of one field, which may lie in several files.
void copy_rows(const Dataset& dataset, const std::string& field, Range items, ShardWriter& to,
               PixelSums* sums) {
  const FieldInfo& info = dataset.manifest().fields.at(field);
  std::vector<std::uint8_t> bytes;
  for (std::int64_t id = items.begin; id < items.end;) {
    const Dataset::Place place = dataset.locate(id);
    const auto shard = dataset.shard(place.shard);
    if (info.is_ragged) {
      shard->read_row(field, place.row, bytes);
      to.append(field, bytes);
      ++id;
      continue;
    }
    const std::int64_t count =
        std::min({items.end - id, kRunRows, shard->layout(field).num_rows - place.row});
    bytes.resize(static_cast<std::size_t>(count * info.row_bytes()));
    shard->read_rows(field, place.row, count, bytes.data());
    to.append_rows(field, bytes);
    if (sums != nullptr)
      sums->add(bytes.data(), count * info.row_values() / channels_of(info), channels_of(info));
    id += count;
  }
}

Manifest describe(const Dataset& dataset, const ImportOptions& options) {
  Manifest manifest = dataset.manifest();
  manifest.shards.clear();
  manifest.num_samples = 0;
  if (!is_dataset(options)) {
    manifest.provenance["importer"] = "hdf5";
    manifest.provenance["input"] = options.inputs.front().filename().string();
  }
  for (const auto& [field, info] : manifest.fields) {
    if (info.is_aside) {
      throw data_error("field '{}' has rows of its own and cannot be copied sample by sample",
                       field);
    }
  }
  return manifest;
}

ImportResult copy_dataset(const Dataset& dataset, const ImportOptions& options) {
  const std::int64_t per_sample =
      std::max<std::int64_t>(bytes_of(dataset) / dataset.num_samples(), 1);
  ImportSession session(options, describe(dataset, options), dataset.num_samples(),
                        options.shard_bytes / per_sample);
  std::int64_t num_done = 0;
  return session.run([&](ImportSession::Filling& filling) {
    for (std::int64_t begin = filling.items.begin; begin < filling.items.end; begin += kRunRows) {
      const Range run = {begin, std::min(begin + kRunRows, filling.items.end)};
      for (const auto& [field, info] : dataset.manifest().fields) {
        copy_rows(dataset, field, run, filling.shard,
                  needs_sums(dataset.manifest(), field) ? &filling.sums : nullptr);
      }
      num_done += run.size();
      if (options.progress) options.progress(num_done, session.num_own_items());
    }
  });
}

}  // namespace

FieldPaths parse_field_words(const std::vector<std::string>& words) {
  FieldPaths mapping;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
      throw usage_error("'{}' does not say which array is which field; write image=/path/in/file",
                        word);
    }
    mapping[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return mapping;
}

ImportResult import_hdf5(const ImportOptions& options) {
  if (options.inputs.empty()) throw usage_error("hdf5 takes files, or a folder of them");
  const FieldPaths mapping = parse_field_words(options.fields);
  if (mapping.empty() && !is_dataset(options)) throw missing_fields(options.inputs.front());
  if (options.inputs.size() == 1) return copy_dataset(Dataset(options.inputs[0], mapping), options);
  return copy_dataset(Dataset(options.inputs, mapping), options);
}

}  // namespace kiln
