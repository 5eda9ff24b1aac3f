#pragma once

#include "models/mae/mae.h"

namespace kiln {

/// What a masked autoencoder sees of its images, and what it is to fill in.
struct MaeInput {
  at::Tensor visible;  // [B, V, P] in the weights' type, normalised
  at::Tensor target;   // [B, M, P] at least fp32, see mae_target
};

/// Of images [B, H, W, C] and ids_shuffle [B, L]: the first V ids are visible. uint8 images on a
/// GPU are normalised, cut and gathered by one kernel, which plain_mae_input specifies.
MaeInput mae_input(const at::Tensor& images, const at::Tensor& ids_shuffle, const MaeShape& shape,
                   const PixelNormalisation& pixels, at::ScalarType type);
MaeInput plain_mae_input(const at::Tensor& images, const at::Tensor& ids_shuffle,
                         const MaeShape& shape, const PixelNormalisation& pixels,
                         at::ScalarType type);

/// Patches of images in the order of the ids, normalised: [B, L, P] fp32 of uint8 images.
at::Tensor shuffled_patches(const at::Tensor& images, const at::Tensor& ids_shuffle,
                            const MaeShape& shape, const PixelNormalisation& pixels);

/// Rows ids [B, N] of x [B, L, P]: [B, N, P].
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& ids);

}  // namespace kiln
