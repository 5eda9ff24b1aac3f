#pragma once

#include <cstdint>

#include "models/kernels/elements.h"

namespace kiln {

/// Where the values of patches lie in an image [H, W, C]: patch l in row-major order, value v of it
/// in the order row, column, channel.
struct PatchGrid {
  std::int64_t width = 0, channels = 0, patch = 0;  // of the image, in pixels

  KILN_HOST_DEVICE std::int64_t values() const { return patch * patch * channels; }
  KILN_HOST_DEVICE std::int64_t offset(std::int64_t l, std::int64_t v) const {
    const std::int64_t per_row = width / patch, pixel = v / channels;
    const std::int64_t y = l / per_row * patch + pixel / patch;
    const std::int64_t x = l % per_row * patch + pixel % patch;
    return (y * width + x) * channels + v % channels;
  }
};

/// What a masked autoencoder makes of its images, in one pass: (pixel * scale + shift) of the
/// patches that ids [B, L] names, the first V for the encoder, the others as targets.
template <typename T>
struct MaskedPatches {
  static constexpr int kMostChannels = 4;
  PatchGrid grid;
  std::int64_t image_values = 0;  // H * W * C
  std::int64_t patches = 0;       // L
  std::int64_t num_visible = 0;   // V
  float scale[kMostChannels] = {}, shift[kMostChannels] = {};
  bool has_normalised_targets = false;
  const std::uint8_t* images = nullptr;  // [B, H, W, C]
  const std::int64_t* ids = nullptr;     // [B, L]
  T* visible = nullptr;                  // [B, V, P]
  float* target = nullptr;               // [B, L - V, P]
};
/// On a GPU; T = float or Bf16; stream as void*.
template <typename T>
void device_masked_patches(const MaskedPatches<T>& work, std::int64_t samples, void* stream);

}  // namespace kiln
