#include <algorithm>
#include <cctype>
#include <mutex>
#include <set>

#include "core/error.h"
#include "core/philox.h"
#include "data/decode.h"
#include "data/files.h"
#include "data/import.h"
#include "data/import_session.h"
#include "data/parallel.h"
#include "data/permutation.h"
#include "data/resize.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr int kQuality = 90;

struct Input {
  fs::path path;
  std::string class_name;  // empty: none
  std::int32_t label = 0;
  std::int64_t bytes = 0;
};

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

void list_folder(const fs::path& root, std::vector<Input>& inputs) {
  if (!fs::is_directory(root)) throw data_error("'{}' is not a folder of images", root.string());
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const auto& entry : fs::recursive_directory_iterator(root, options)) {
    if (!entry.is_regular_file() || !is_image(entry.path())) continue;
    const fs::path inner = entry.path().lexically_relative(root);
    const bool has_class = inner.has_parent_path();
    inputs.push_back({entry.path(), has_class ? inner.begin()->string() : "", 0,
                      static_cast<std::int64_t>(entry.file_size())});
  }
}

// All files, in an order that mixes classes.
std::vector<Input> list_inputs(const ImportOptions& options,
                               std::vector<std::string>& class_names) {
  std::vector<Input> inputs;
  for (const fs::path& root : options.inputs) list_folder(root, inputs);
  if (inputs.empty()) {
    throw data_error("no *.jpg, *.jpeg or *.png file lies in or below '{}'",
                     options.inputs.empty() ? "" : options.inputs[0].string());
  }
  std::sort(inputs.begin(), inputs.end(),
            [](const Input& a, const Input& b) { return a.path < b.path; });
  std::set<std::string> names;
  for (const Input& input : inputs) names.insert(input.class_name);
  if (names == std::set<std::string>{""}) return inputs;
  if (names.contains("")) {
    const auto stray = std::find_if(inputs.begin(), inputs.end(),
                                    [](const Input& input) { return input.class_name.empty(); });
    throw data_error(
        "'{}' lies beside the folders of the classes: put every image into its class's folder, or "
        "all into one folder",
        stray->path.string());
  }
  class_names.assign(names.begin(), names.end());
  const Permutation order(Philox(0, Purpose::kOrder, 0), 0, std::ssize(inputs));
  std::vector<Input> shuffled;
  for (std::int64_t i = 0; i < std::ssize(inputs); ++i) {
    Input& input = inputs[static_cast<std::size_t>(order.at(i))];
    const auto name = std::lower_bound(class_names.begin(), class_names.end(), input.class_name);
    input.label = static_cast<std::int32_t>(std::distance(class_names.begin(), name));
    shuffled.push_back(std::move(input));
  }
  return shuffled;
}

struct Checked {
  std::vector<std::uint8_t> file;
  PixelSums sums;
  std::string broken;  // the reason, or empty
};

Checked check(const Input& input, const ImportOptions& options) {
  Checked checked;
  try {
    checked.file = read_file(input.path);
    ImageDecoder decoder(checked.file);
    if (std::min(decoder.width(), decoder.height()) < options.min_side) {
      throw data_error("too small: {} x {} pixels, at least {} x {} are needed", decoder.width(),
                       decoder.height(), options.min_side, options.min_side);
    }
    Image image = decoder.decode(decoder.channels());
    const std::int64_t longer = std::max(image.width, image.height);
    if (options.max_side > 0 && longer > options.max_side) {
      const auto scaled = [&](std::int64_t side) {
        return std::max<std::int64_t>((side * options.max_side + longer / 2) / longer, 1);
      };
      image = resize_bicubic(image, scaled(image.width), scaled(image.height));
      checked.file = encode_jpeg(image, kQuality);
    }
    checked.sums.add(image.pixels.data(), image.width * image.height, image.channels);
  } catch (const Error& error) {
    checked.broken = error.what();
  }
  return checked;
}

Manifest describe(const ImportOptions& options, const std::vector<std::string>& class_names) {
  Manifest manifest;
  manifest.kind = "image";
  manifest.fields["image"] = {DType::kUInt8, {}, true, false, "image"};
  if (!class_names.empty()) manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
  manifest.class_names = class_names;
  manifest.provenance["importer"] = "images";
  if (options.max_side > 0) {
    manifest.provenance["max_side"] = std::to_string(options.max_side);
    manifest.provenance["jpeg_quality"] = std::to_string(kQuality);
  }
  return manifest;
}

}  // namespace

ImportResult import_images(const ImportOptions& options) {
  std::vector<std::string> class_names;
  const std::vector<Input> inputs = list_inputs(options, class_names);
  std::int64_t bytes = 0;
  for (const Input& input : inputs) bytes += input.bytes;
  const std::int64_t per_shard = std::max<std::int64_t>(
      options.shard_bytes / std::max<std::int64_t>(bytes / std::ssize(inputs), 1), 1);
  ImportSession session(options, describe(options, class_names), std::ssize(inputs), per_shard);

  // A block is decoded in parallel, then appended in order: memory stays bounded, and the shard is
  // the same for any number of threads.
  const std::int64_t block = 64 * std::max<std::int64_t>(options.num_threads, 1);
  std::int64_t num_done = 0;
  return session.run([&](ImportSession::Filling& filling) {
    for (std::int64_t begin = filling.items.begin; begin < filling.items.end; begin += block) {
      const std::int64_t count = std::min(block, filling.items.end - begin);
      std::vector<Checked> checked(static_cast<std::size_t>(count));
      parallel_for(count, 4, options.num_threads, [&](Range range) {
        for (std::int64_t i = range.begin; i < range.end; ++i) {
          checked[static_cast<std::size_t>(i)] =
              check(inputs[static_cast<std::size_t>(begin + i)], options);
        }
      });
      for (std::int64_t i = 0; i < count; ++i) {
        const Input& input = inputs[static_cast<std::size_t>(begin + i)];
        const Checked& result = checked[static_cast<std::size_t>(i)];
        if (!result.broken.empty()) {
          filling.broken.push_back({input.path.string(), result.broken});
          continue;
        }
        filling.shard.append("image", result.file);
        if (!class_names.empty()) filling.shard.append_value("label", input.label);
        filling.sums.add(result.sums);
      }
      num_done += count;
      if (options.progress) options.progress(num_done, session.num_own_items());
    }
  });
}

}  // namespace kiln
