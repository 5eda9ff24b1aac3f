#include "models/kernels/host_batch_norm.h"

#include <algorithm>

namespace kiln {
namespace {

// The loops have restrict parameters and no branches, the form that compilers vectorise.

template <typename T>
void add_row(const T* __restrict x, float* __restrict sums, std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) sums[c] += load(x[c]);
}

template <typename T>
void add_squares(const T* __restrict x, const float* __restrict mean, float* __restrict sums,
                 std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    const float d = load(x[c]) - mean[c];
    sums[c] = multiply_add(d, d, sums[c]);
  }
}

template <typename T, bool kHasAdded, bool kHasRelu>
void normalise_row(const T* __restrict x, const T* __restrict added, const float* __restrict mean,
                   const float* __restrict scale, const float* __restrict shift, T* __restrict y,
                   std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    float v = multiply_add(load(x[c]) - mean[c], scale[c], shift[c]);
    if (kHasAdded) v += load(added[c]);
    if (kHasRelu) v = v > 0.0f ? v : 0.0f;
    store(y[c], v);
  }
}

// Of ReLU's output, which is never below 0: by its bits, in the width of its type.
bool is_positive(float y) { return y > 0.0f; }
bool is_positive(Bf16 y) { return static_cast<std::int16_t>(y) > 0; }

/// dy where y is above 0, if y is looked at.
template <bool kHasRelu, typename T>
T passed_on(T dy, const T* y, std::int64_t c) {
  return kHasRelu && !is_positive(y[c]) ? T{} : dy;
}

template <typename T, bool kHasRelu, bool kIsWritten>
void add_gradients(const T* __restrict x, const T* __restrict dy, const T* __restrict y,
                   const float* __restrict mean, float* __restrict sums, float* __restrict products,
                   T* __restrict masked, std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    const T passed = passed_on<kHasRelu>(dy[c], y, c);
    if (kIsWritten) masked[c] = passed;
    const float g = load(passed);
    sums[c] += g;
    products[c] = multiply_add(g, load(x[c]) - mean[c], products[c]);
  }
}

template <typename T, bool kHasRelu>
void gradient_row(const T* __restrict x, const T* __restrict dy, const T* __restrict y,
                  const float* __restrict mean, const float* __restrict scale,
                  const float* __restrict slope, const float* __restrict offset, T* __restrict dx,
                  std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c) {
    const float g = load(passed_on<kHasRelu>(dy[c], y, c));
    store(dx[c],
          multiply_add(g, scale[c], multiply_add(load(x[c]) - mean[c], slope[c], offset[c])));
  }
}

}  // namespace

std::int64_t batch_norm_chunk_rows(std::int64_t channels) {
  constexpr std::int64_t kValues = 64 * 1'024;
  return std::clamp<std::int64_t>(kValues / channels, 16, 1'024);
}

template <typename T>
void batch_norm_moments(const T* x, std::int64_t channels, std::int64_t begin, std::int64_t end,
                        float* mean, float* squares) {
  std::fill_n(mean, channels, 0.0f);
  std::fill_n(squares, channels, 0.0f);
  for (std::int64_t n = begin; n < end; ++n) add_row(x + n * channels, mean, channels);
  const float share = 1.0f / static_cast<float>(end - begin);
  for (std::int64_t c = 0; c < channels; ++c) mean[c] *= share;
  for (std::int64_t n = begin; n < end; ++n) add_squares(x + n * channels, mean, squares, channels);
}

template <typename T>
void batch_norm_rows(const BatchNormRows<T>& rows, T* y, std::int64_t begin, std::int64_t end) {
  const std::int64_t C = rows.channels;
  const auto row =
      rows.added ? (rows.has_relu ? normalise_row<T, true, true> : normalise_row<T, true, false>)
                 : (rows.has_relu ? normalise_row<T, false, true> : normalise_row<T, false, false>);
  for (std::int64_t n = begin; n < end; ++n) {
    row(rows.x + n * C, rows.added ? rows.added + n * C : nullptr, rows.mean, rows.scale,
        rows.shift, y + n * C, C);
  }
}

template <typename T>
void batch_norm_gradient_sums(const BatchNormRows<T>& rows, const T* dy, const T* y, T* masked,
                              std::int64_t begin, std::int64_t end, float* sums, float* products) {
  const std::int64_t C = rows.channels;
  std::fill_n(sums, C, 0.0f);
  std::fill_n(products, C, 0.0f);
  const auto row = masked ? add_gradients<T, true, true>
                   : y    ? add_gradients<T, true, false>
                          : add_gradients<T, false, false>;
  for (std::int64_t n = begin; n < end; ++n) {
    row(rows.x + n * C, dy + n * C, y ? y + n * C : nullptr, rows.mean, sums, products,
        masked ? masked + n * C : nullptr, C);
  }
}

template <typename T>
void batch_norm_gradient(const BatchNormRows<T>& rows, const BatchNormSlopes& slopes, const T* dy,
                         const T* y, T* dx, std::int64_t begin, std::int64_t end) {
  const std::int64_t C = rows.channels;
  const auto row = y ? gradient_row<T, true> : gradient_row<T, false>;
  for (std::int64_t n = begin; n < end; ++n) {
    row(rows.x + n * C, dy + n * C, y ? y + n * C : nullptr, rows.mean, rows.scale, slopes.slope,
        slopes.offset, dx + n * C, C);
  }
}

#define KILN_BATCH_NORM(T)                                                                     \
  template void batch_norm_moments(const T*, std::int64_t, std::int64_t, std::int64_t, float*, \
                                   float*);                                                    \
  template void batch_norm_rows(const BatchNormRows<T>&, T*, std::int64_t, std::int64_t);      \
  template void batch_norm_gradient_sums(const BatchNormRows<T>&, const T*, const T*, T*,      \
                                         std::int64_t, std::int64_t, float*, float*);          \
  template void batch_norm_gradient(const BatchNormRows<T>&, const BatchNormSlopes&, const T*, \
                                    const T*, T*, std::int64_t, std::int64_t);
KILN_BATCH_NORM(float)
KILN_BATCH_NORM(Bf16)
#undef KILN_BATCH_NORM

}  // namespace kiln
