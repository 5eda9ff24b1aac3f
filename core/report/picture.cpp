#include "core/report/picture.h"

#include <ATen/ops/full.h>
#include <png.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace kiln {

at::Tensor to_uint8(const at::Tensor& values) {
  if (values.scalar_type() == at::ScalarType::Byte) return values;
  const at::Tensor source = values.to(at::kCPU, at::ScalarType::Float).contiguous();
  at::Tensor result = at::full(source.sizes(), 0, at::TensorOptions().dtype(at::ScalarType::Byte));
  const float* from = source.const_data_ptr<float>();
  auto* to = result.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < source.numel(); ++i) {
    const float value = std::isnan(from[i]) ? 0.0f : std::clamp(from[i], 0.0f, 1.0f);
    to[i] = static_cast<std::uint8_t>(std::lround(value * 255.0f));
  }
  return result;
}

at::Tensor picture_grid(const at::Tensor& pictures, const GridOptions& options) {
  KILN_CHECK(pictures.dim() == 4 && options.columns > 0 && options.scale > 0 && options.gap >= 0);
  const at::Tensor small = to_uint8(pictures).to(at::kCPU);  // [N, H, W, C]
  const at::Tensor scaled =
      small.repeat_interleave(options.scale, 1).repeat_interleave(options.scale, 2);
  const std::int64_t count = scaled.size(0), height = scaled.size(1), width = scaled.size(2);
  const std::int64_t columns = std::min(options.columns, std::max<std::int64_t>(count, 1));
  const std::int64_t rows = (count + columns - 1) / columns;
  at::Tensor grid = at::full({rows * (height + options.gap) + options.gap,
                              columns * (width + options.gap) + options.gap, scaled.size(3)},
                             options.background, scaled.options());  // [H', W', C]
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t top = options.gap + i / columns * (height + options.gap);
    const std::int64_t left = options.gap + i % columns * (width + options.gap);
    grid.narrow(0, top, height).narrow(1, left, width).copy_(scaled.select(0, i));
  }
  return grid;
}

std::string encode_png(const at::Tensor& picture) {
  KILN_CHECK(picture.dim() == 3 && picture.scalar_type() == at::ScalarType::Byte &&
             (picture.size(2) == 1 || picture.size(2) == 3));
  const at::Tensor pixels = picture.to(at::kCPU).contiguous();
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(pixels.size(0));
  image.width = static_cast<png_uint_32>(pixels.size(1));
  image.format = pixels.size(2) == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t num_bytes = bytes.size();
  const int is_written = png_image_write_to_memory(&image, bytes.data(), &num_bytes, 0,
                                                   pixels.const_data_ptr(), 0, nullptr);
  KILN_CHECK(is_written != 0, "libpng: {}", image.message);
  bytes.resize(num_bytes);
  return bytes;
}

void write_png(const std::filesystem::path& path, const at::Tensor& picture, FileSystem& files) {
  write_file_atomically(files, path, encode_png(picture));
}

}  // namespace kiln
