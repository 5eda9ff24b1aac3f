#include "data/store/image_layout.h"

#include <fmt/ranges.h>

#include "core/base/error.h"

namespace kiln {
namespace {

constexpr std::int64_t kMostUsual = 4;  // channels of pictures

bool is_float(DType type) { return type == DType::kFloat16 || type == DType::kFloat32; }

/// Which end of [a, b, c] holds the channels.
ImageLayout recognise(const std::vector<std::int64_t>& shape, const std::string& what) {
  const std::int64_t a = shape[0], b = shape[1], c = shape[2];
  const bool may_be_last = c <= kMostUsual && (a > kMostUsual || c == 1);
  const bool may_be_first = a <= kMostUsual && (c > kMostUsual || a == 1);
  if (may_be_last != may_be_first) {
    return may_be_last ? ImageLayout::kChannelsLast : ImageLayout::kChannelsFirst;
  }
  if (a > kMostUsual && c > kMostUsual && c < std::min(a, b)) return ImageLayout::kChannelsLast;
  if (a > kMostUsual && c > kMostUsual && a < std::min(b, c)) return ImageLayout::kChannelsFirst;
  throw data_error(
      "{}: rows of [{}] may be channels first or last: import them with --layout chw or hwc", what,
      fmt::join(shape, ", "));
}

}  // namespace

ImageLayout image_layout_from_name(const std::string& name) {
  if (name == "auto") return ImageLayout::kAuto;
  if (name == "hwc") return ImageLayout::kChannelsLast;
  if (name == "chw") return ImageLayout::kChannelsFirst;
  throw usage_error("--layout {}: choose auto, hwc (channels last) or chw (channels first)", name);
}

ImageForm image_form(const FieldInfo& field, ImageLayout layout, const std::string& what) {
  const std::string found =
      fmt::format("{} [{}]{}", name(field.dtype), fmt::join(field.shape, ", "),
                  field.is_ragged ? " ragged" : "");
  if (is_float(field.dtype)) {
    throw data_error(
        "{}: images are uint8, from 0 to 255; found {}. Scale the values and write them again "
        "(values from 0 to 1: numpy.rint(x * 255).astype('uint8'))",
        what, found);
  }
  const std::size_t num_dims = field.shape.size();
  if (field.dtype != DType::kUInt8 || field.is_ragged || num_dims < 2 || num_dims > 3) {
    throw data_error(
        "{}: images are uint8 [H, W], [H, W, C] or [C, H, W], or ragged bytes of JPEG or PNG "
        "files; "
        "found {}{}",
        what, found,
        num_dims == 1 && !field.is_ragged ? ": give each row its height and width (numpy's reshape)"
                                          : "");
  }
  if (num_dims == 2) return {field.shape[0], field.shape[1], 1, false};
  if (layout == ImageLayout::kAuto) layout = recognise(field.shape, what);
  if (layout == ImageLayout::kChannelsFirst) {
    return {field.shape[1], field.shape[2], field.shape[0], true};
  }
  return {field.shape[0], field.shape[1], field.shape[2], false};
}

void move_channels_last(const ImageForm& form, const std::uint8_t* from, std::uint8_t* to) {
  const std::int64_t plane = form.height * form.width;
  for (std::int64_t c = 0; c < form.channels; ++c) {
    for (std::int64_t i = 0; i < plane; ++i) to[i * form.channels + c] = *from++;
  }
}

}  // namespace kiln
