#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/report/log.h"
#include "core/report/progress_bar.h"
#include "data/images/decode.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"
#include "data/parallel.h"
#include "data/store/class_map.h"
#include "data/store/dataset.h"
#include "data/store/hdf5_handle.h"
#include "data/store/image_layout.h"

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

/// What is done with a field's rows on the way.
struct Conversion {
  bool is_encoded = false;  // JPEG or PNG files of others: decoded once, to see that they are
  std::optional<ImageForm> pixels;  // raw images that are turned, or whose mean is not known
};

class DatasetCopy {
 public:
  DatasetCopy(const Dataset& dataset, const ImportOptions& options)
      : dataset_(dataset), options_(options), is_foreign_(!dataset.mapping().empty()) {
    manifest_ = dataset.manifest();
    manifest_.shards.clear();
    manifest_.num_samples = 0;
    for (auto& [field, info] : manifest_.fields) {
      if (info.is_aside) {
        throw data_error("field '{}' has rows of its own and cannot be copied sample by sample",
                         field);
      }
      if (field == "image") plan_images(info);
    }
    if (!is_foreign_) return;
    manifest_.provenance["importer"] = "hdf5";
    manifest_.provenance["input"] = options.inputs.front().filename().string();
    if (manifest_.fields.contains("label")) {
      for (std::size_t i = 0; i < count_classes(dataset).size(); ++i) {
        manifest_.class_names.push_back(std::to_string(i));
      }
    }
  }

  ImportResult run() {
    const std::int64_t per_sample =
        std::max<std::int64_t>(bytes_of(dataset_) / dataset_.num_samples(), 1);
    ImportSession session(options_, manifest_, dataset_.num_samples(),
                          options_.shard_bytes / per_sample);
    std::int64_t num_done = 0;
    return session.run([&](ImportSession::Filling& filling) {
      for (std::int64_t begin = filling.items.begin; begin < filling.items.end; begin += kRunRows) {
        const Range run = {begin, std::min(begin + kRunRows, filling.items.end)};
        for (const auto& [field, info] : manifest_.fields) {
          if (info.is_ragged) {
            copy_ragged(field, run, filling);
          } else {
            copy_fixed(field, run, filling);
          }
        }
        num_done += run.size();
        if (options_.progress) options_.progress(num_done, session.num_own_items());
      }
    });
  }

 private:
  void plan_images(FieldInfo& info) {
    if (info.is_ragged) {
      image_.is_encoded = is_foreign_;
      return;
    }
    if (!is_foreign_) {
      // As it was imported: channels last, whatever the shape looks like.
      if (manifest_.mean.empty() && info.dtype == DType::kUInt8 && info.shape.size() >= 2) {
        image_.pixels = image_form(info, ImageLayout::kChannelsLast, "field 'image'");
      }
      return;
    }
    const std::string what = fmt::format("'{}' of '{}'", dataset_.mapping().at("image"),
                                         options_.inputs.front().string());
    image_.pixels = image_form(info, image_layout_from_name(options_.layout), what);
    const ImageForm& form = *image_.pixels;
    if (!form.is_channels_first) return;
    log_info(
        "{}: rows of [{}] are taken as channels first: {} x {} pixels of {}, stored as "
        "[{}, {}, {}]; --layout hwc takes them as they are",
        what, fmt::join(info.shape, ", "), form.height, form.width,
        format_count(form.channels, "channel"), form.height, form.width, form.channels);
    info.shape = {form.height, form.width, form.channels};
  }

  // Rows of a field, which may lie in several files.
  void copy_fixed(const std::string& field, Range rows, ImportSession::Filling& filling) const {
    const FieldInfo& info = manifest_.fields.at(field);
    const bool is_image = field == "image" && image_.pixels.has_value();
    std::vector<std::uint8_t> bytes, turned;
    for (std::int64_t id = rows.begin; id < rows.end;) {
      const Dataset::Place place = dataset_.locate(id);
      const auto shard = dataset_.shard(place.shard);
      const std::int64_t count = std::min(rows.end - id, shard->layout(field).num_rows - place.row);
      bytes.resize(static_cast<std::size_t>(count * info.row_bytes()));
      shard->read_rows(field, place.row, count, bytes.data());
      if (is_image && image_.pixels->is_channels_first) {
        turned.resize(bytes.size());
        for (std::int64_t i = 0; i < count; ++i) {
          move_channels_last(*image_.pixels, bytes.data() + i * info.row_bytes(),
                             turned.data() + i * info.row_bytes());
        }
        std::swap(bytes, turned);
      }
      filling.shard.append_rows(field, bytes);
      if (is_image) {
        const std::int64_t channels = image_.pixels->channels;
        filling.sums.add(bytes.data(), count * info.row_values() / channels, channels);
      }
      id += count;
    }
  }

  void copy_ragged(const std::string& field, Range rows, ImportSession::Filling& filling) const {
    std::vector<std::vector<std::uint8_t>> files(static_cast<std::size_t>(rows.size()));
    for (std::int64_t i = 0; i < rows.size(); ++i) {
      const Dataset::Place place = dataset_.locate(rows.begin + i);
      dataset_.shard(place.shard)->read_row(field, place.row, files[static_cast<std::size_t>(i)]);
    }
    if (field == "image" && image_.is_encoded) decode(files, rows, filling);
    for (const auto& file : files) filling.shard.append(field, file);
  }

  void decode(const std::vector<std::vector<std::uint8_t>>& files, Range rows,
              ImportSession::Filling& filling) const {
    std::vector<PixelSums> sums(files.size());
    parallel_for(rows.size(), 4, options_.num_threads, [&](Range part) {
      for (std::int64_t i = part.begin; i < part.end; ++i) {
        const auto index = static_cast<std::size_t>(i);
        try {
          ImageDecoder decoder(files[index], options_.max_pixels);
          const Image image = decoder.decode(decoder.channels());
          sums[index].add(image.pixels.data(), image.width * image.height, image.channels);
        } catch (const std::exception& error) {
          throw data_error("{}: the image cannot be decoded: {}", dataset_.describe(rows.begin + i),
                           error.what());
        }
      }
    });
    for (const PixelSums& of_file : sums) filling.sums.add(of_file);
  }

  const Dataset& dataset_;
  const ImportOptions& options_;
  bool is_foreign_;
  Manifest manifest_;
  Conversion image_;
};

}  // namespace

FieldPaths parse_field_words(const std::vector<std::string>& words) {
  FieldPaths mapping;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
      throw usage_error("'{}' does not say which array is which field; write image=/path/in/file",
                        word);
    }
    const std::string field = word.substr(0, equals);
    const std::vector<std::string> known = {"image", "label", "tokens", "moments"};
    if (std::ranges::find(known, field) == known.end()) {
      throw usage_error("--field {}: {}", word, unknown_name("field", field, known));
    }
    if (!mapping.emplace(field, word.substr(equals + 1)).second) {
      throw usage_error("--field {}: field '{}' is named twice", word, field);
    }
  }
  return mapping;
}

ImportResult import_hdf5(const ImportOptions& options) {
  if (options.inputs.empty()) throw usage_error("hdf5 takes files, or a folder of them");
  const FieldPaths mapping = parse_field_words(options.fields);
  if (mapping.empty() && !is_dataset(options)) throw missing_fields(options.inputs.front());
  const Dataset dataset = options.inputs.size() == 1 ? Dataset(options.inputs[0], mapping)
                                                     : Dataset(options.inputs, mapping);
  return DatasetCopy(dataset, options).run();
}

}  // namespace kiln
