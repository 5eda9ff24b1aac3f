#include "data/importers/picture_import.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <new>
#include <string_view>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/resize.h"
#include "data/importers/import_session.h"
#include "data/importers/other_pictures.h"
#include "data/parallel.h"
#include "data/store/files.h"

namespace kiln {
namespace {

constexpr int kQuality = 90;

struct Checked {
  std::vector<std::uint8_t> file;
  PixelSums sums;
  std::string broken;  // the reason, or empty
};

/// Pixels of a picture in any format that is read; a file that datasets do not hold becomes PNG.
Image decode(std::vector<std::uint8_t>& file, const ImportOptions& options) {
  if (is_webp(file) || is_tiff(file) || is_bmp(file)) {
    const auto decode_other = is_webp(file)   ? decode_webp
                              : is_tiff(file) ? decode_tiff
                                              : decode_bmp;
    Image image = decode_other(file, options.max_pixels);
    file = encode_png(image);
    return image;
  }
  ImageDecoder decoder(file, options.max_pixels);
  return decoder.decode(decoder.channels());
}

Checked check(const PictureInput& input, const ImportOptions& options) {
  Checked checked;
  checked.broken = input.broken;
  if (!input.broken.empty()) return checked;
  try {
    checked.file.resize(static_cast<std::size_t>(input.bytes));
    File::open_read(input.file).read_at(checked.file.data(), input.bytes, input.offset);
    Image image = decode(checked.file, options);
    if (std::min(image.width, image.height) < options.min_side) {
      throw data_error("too small: {} x {} pixels, at least {} x {} are needed", image.width,
                       image.height, options.min_side, options.min_side);
    }
    const std::int64_t longer = std::max(image.width, image.height);
    if (options.max_side > 0 && longer > options.max_side) {
      const auto scaled = [&](std::int64_t side) {
        return std::max<std::int64_t>((side * options.max_side + longer / 2) / longer, 1);
      };
      image = resize_bicubic(image, scaled(image.width), scaled(image.height));
      checked.file = encode_jpeg(image, kQuality);
    }
    checked.sums.add(image.pixels.data(), image.width * image.height, image.channels);
  } catch (const std::bad_alloc&) {
    checked.broken = "there is not enough memory to decode it: lower --max-pixels or --threads";
  } catch (const std::exception& error) {
    checked.broken = error.what();
  }
  if (!checked.broken.empty()) checked.file = {};
  return checked;
}

void complete(Manifest& manifest, const ImportOptions& options) {
  manifest.kind = "image";
  manifest.fields["image"] = {DType::kUInt8, {}, true, false, "image"};
  if (!manifest.class_names.empty()) {
    manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
  }
  if (options.max_pixels > kMostPixels) {
    manifest.attributes["max_pixels"] = std::to_string(options.max_pixels);
  }
  if (options.max_side > 0) {
    manifest.provenance["max_side"] = std::to_string(options.max_side);
    manifest.provenance["jpeg_quality"] = std::to_string(kQuality);
  }
}

// Appends what can be used, in order, and notes the rest.
void append(const std::vector<Checked>& checked, const PictureInput* inputs, bool has_labels,
            ImportSession::Filling& filling) {
  for (const Checked& result : checked) {
    const PictureInput& input = *inputs++;
    if (!result.broken.empty()) {
      filling.broken.push_back({input.name, result.broken});
      continue;
    }
    filling.shard.append("image", result.file);
    if (has_labels) filling.shard.append_value("label", input.label);
    filling.sums.add(result.sums);
  }
}

}  // namespace

bool has_picture_ending(const std::filesystem::path& path) {
  constexpr std::array<std::string_view, 24> kEndings = {
      ".jpg",  ".jpeg", ".jpe", ".jfif", ".png",  ".apng", ".webp", ".tif",
      ".tiff", ".bmp",  ".dib", ".gif",  ".heic", ".heif", ".avif", ".jxl",
      ".jp2",  ".ppm",  ".pgm", ".pbm",  ".pnm",  ".tga",  ".ico",  ".psd"};
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::find(kEndings, ending) != kEndings.end();
}

ImportResult import_pictures(const ImportOptions& options, const std::vector<PictureInput>& inputs,
                             Manifest manifest, const LeftOut& left_out) {
  complete(manifest, options);
  const bool has_labels = !manifest.class_names.empty();
  std::int64_t bytes = 0;
  for (const PictureInput& input : inputs) bytes += input.bytes;
  const std::int64_t mean_bytes = std::max<std::int64_t>(bytes / std::ssize(inputs), 1);
  ImportSession session(options, std::move(manifest), std::ssize(inputs),
                        options.shard_bytes / mean_bytes, left_out);
  // A block is decoded in parallel, then appended in order: memory stays bounded, and the shard is
  // the same for any number of threads.
  const std::int64_t block = 64 * std::max<std::int64_t>(options.num_threads, 1);
  std::int64_t num_done = 0;
  return session.run([&](ImportSession::Filling& filling) {
    for (std::int64_t begin = filling.items.begin; begin < filling.items.end; begin += block) {
      const std::int64_t count = std::min(block, filling.items.end - begin);
      const PictureInput* first = inputs.data() + begin;
      std::vector<Checked> checked(static_cast<std::size_t>(count));
      parallel_for(count, 4, options.num_threads, [&](Range range) {
        for (std::int64_t i = range.begin; i < range.end; ++i) {
          checked[static_cast<std::size_t>(i)] = check(first[i], options);
        }
      });
      append(checked, first, has_labels, filling);
      num_done += count;
      if (options.progress) options.progress(num_done, session.num_own_items());
    }
  });
}

}  // namespace kiln
