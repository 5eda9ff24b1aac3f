#include <algorithm>

#include "models/kernels/conv_weights.h"
#include "models/kernels/host_softmax.h"

namespace kiln {
namespace {

/// to[column][row] = from[row][column].
template <typename T>
void transpose(const T* __restrict from, std::int64_t from_stride, std::int64_t rows,
               std::int64_t columns, T* __restrict to, std::int64_t to_stride) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      to[column * to_stride + row] = from[row * from_stride + column];
    }
  }
}

}  // namespace

template <typename T>
void weights_to_channels_last(const ConvWeightShape& shape, const T* from, T* to,
                              std::int64_t begin, std::int64_t end) {
  const std::int64_t size = shape.in * shape.taps;
  for (std::int64_t out = begin; out < end; ++out) {
    transpose(from + out * size, shape.taps, shape.in, shape.taps, to + out * size, shape.in);
  }
}

template <typename T>
void weights_from_channels_last(const ConvWeightShape& shape, const T* from, T* to, bool is_added,
                                std::int64_t begin, std::int64_t end) {
  // Works by tiles of inputs, so that the adding loop runs over neighbours in memory.
  constexpr std::int64_t kInputs = 64;
  T tile[kInputs * ConvWeightShape::kMostTaps];
  const std::int64_t size = shape.in * shape.taps;
  for (std::int64_t out = begin; out < end; ++out) {
    for (std::int64_t in = 0; in < shape.in; in += kInputs) {
      const std::int64_t count = std::min(kInputs, shape.in - in);
      T* there = to + out * size + in * shape.taps;
      transpose(from + out * size + in, shape.in, shape.taps, count, is_added ? tile : there,
                shape.taps);
      if (is_added) add_to_row(static_cast<const T*>(tile), there, count * shape.taps);
    }
  }
}

#define KILN_INSTANTIATE(T)                                                                  \
  template void weights_to_channels_last(const ConvWeightShape&, const T*, T*, std::int64_t, \
                                         std::int64_t);                                      \
  template void weights_from_channels_last(const ConvWeightShape&, const T*, T*, bool,       \
                                           std::int64_t, std::int64_t)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);

}  // namespace kiln
