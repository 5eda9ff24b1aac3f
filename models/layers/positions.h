#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kiln {

/// Fixed 2-D position table in the layout of MAE and DiT: [rows * columns, dim] in row-major order
/// of patches, channels [sin(x w) | cos(x w) | sin(y w) | cos(y w)] with x the column, y the row
/// and w_i = 10000^(-i / (dim / 4)). With `has_cls` a row of zeros comes first.
///
/// Double precision: the caller casts. `dim` is a multiple of 4.
at::Tensor sincos_2d(std::int64_t dim, std::int64_t rows, std::int64_t columns, bool has_cls);

/// Embedding of diffusion times t [B]: [cos(t w) | sin(t w)], [B, dim] in double precision, with
/// w_i = exp(-ln(10000) i / (dim / 2 - freq_shift)).
at::Tensor timestep_embedding(const at::Tensor& t, std::int64_t dim, double freq_shift);

}  // namespace kiln
