#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/base/file_io.h"

namespace kiln {

// Legend: N pictures, H height, W width, C channels (1 grey, 3 red-green-blue).

/// Values in [0, 1] to 0 .. 255, rounded to nearest, values outside are clamped, NaN becomes 0.
/// Same shape.
/// uint8 tensors pass through.
at::Tensor to_uint8(const at::Tensor& values);

struct GridOptions {
  std::int64_t columns = 8;
  std::int64_t gap = 2;    // pixels between pictures and around them
  std::int64_t scale = 1;  // each pixel becomes scale x scale: small pictures stay visible
  std::uint8_t background = 255;
};
/// Pictures [N, H, W, C] (uint8, or values in [0, 1]) laid out row by row as one [H', W', C]. The
/// last row may be short.
at::Tensor picture_grid(const at::Tensor& pictures, const GridOptions& options);

/// A picture uint8 [H, W, C] as the bytes of a PNG file.
std::string encode_png(const at::Tensor& picture);
/// Replaces `path` in one go. Throws Error(kCheckpoint) naming path and reason.
void write_png(const std::filesystem::path& path, const at::Tensor& picture,
               FileSystem& files = posix_file_system());

}  // namespace kiln
