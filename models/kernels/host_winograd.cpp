#include <cstring>
#include <vector>

#include "models/kernels/winograd.h"

namespace kiln {
namespace {

// Eight channels at once.
using Vec = float __attribute__((vector_size(32)));
constexpr std::int64_t kVec = 8;

Vec load(const float* from) {
  Vec value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
void store(const Vec& value, float* to) { std::memcpy(to, &value, sizeof value); }

// Each of the matrices by a vector; applied to columns and then to rows.
void by_inputs(const Vec (&d)[4], Vec (&to)[4]) {  // B^T
  to[0] = d[0] - d[2];
  to[1] = d[1] + d[2];
  to[2] = d[2] - d[1];
  to[3] = d[1] - d[3];
}
void by_outputs(const Vec (&m)[4], Vec (&to)[2]) {  // A^T
  to[0] = m[0] + m[1] + m[2];
  to[1] = m[1] - m[2] - m[3];
}
void by_output_gradients(const Vec (&d)[2], Vec (&to)[4]) {  // A
  to[0] = d[0];
  to[1] = d[0] + d[1];
  to[2] = d[0] - d[1];
  to[3] = -d[1];
}
void by_weights(const Vec (&g)[3], Vec (&to)[4]) {  // G
  const Vec ends = (g[0] + g[2]) * 0.5f, middle = g[1] * 0.5f;
  to[0] = g[0];
  to[1] = ends + middle;
  to[2] = ends - middle;
  to[3] = g[2];
}
void by_weight_gradients(const Vec (&u)[4], Vec (&to)[3]) {  // G^T
  const Vec sum = (u[1] + u[2]) * 0.5f;
  to[0] = u[0] + sum;
  to[1] = (u[1] - u[2]) * 0.5f;
  to[2] = sum + u[3];
}

// f x f, f the function of one side.
template <int kFrom, int kTo>
void on_both_sides(void (&f)(const Vec (&)[kFrom], Vec (&)[kTo]), const Vec (&from)[kFrom][kFrom],
                   Vec (&to)[kTo][kTo]) {
  Vec half[kTo][kFrom];
  for (int j = 0; j < kFrom; ++j) {
    Vec column[kFrom], result[kTo];
    for (int i = 0; i < kFrom; ++i) column[i] = from[i][j];
    f(column, result);
    for (int i = 0; i < kTo; ++i) half[i][j] = result[i];
  }
  for (int i = 0; i < kTo; ++i) f(half[i], to[i]);
}

// Turning the weights swaps their first and last transforms: G of reversed weights.
std::int64_t place_of(int i, int j, bool is_turned) {
  constexpr int kTurned[] = {3, 1, 2, 0};
  return is_turned ? kTurned[i] * 4 + kTurned[j] : i * 4 + j;
}

// function(tile, where its kSide x kSide pixels lie), the first of them `before` its first output.
template <int kSide, typename Float, typename Function>
void for_tiles(const WinogradMaps& shape, Float* maps, Float* outside, int before,
               std::int64_t begin, std::int64_t end, const Function& function) {
  const std::int64_t columns = shape.columns_of_tiles(), rows = shape.rows_of_tiles();
  for (std::int64_t tile = begin; tile < end; ++tile) {
    const std::int64_t image = tile / (rows * columns);
    const std::int64_t top = tile / columns % rows * 2 - before, left = tile % columns * 2 - before;
    Float* pixels[kSide][kSide];
    for (std::int64_t i = 0; i < kSide; ++i) {
      for (std::int64_t j = 0; j < kSide; ++j) {
        const std::int64_t y = top + i, x = left + j;
        const bool is_inside = y >= 0 && y < shape.height && x >= 0 && x < shape.width;
        const std::int64_t pixel = (image * shape.height + y) * shape.width + x;
        pixels[i][j] = is_inside ? maps + pixel * shape.channels : outside;
      }
    }
    function(tile, pixels);
  }
}

}  // namespace

void winograd_inputs(const WinogradMaps& shape, const float* maps, const WinogradTiles& to,
                     bool is_turned, std::int64_t begin, std::int64_t end) {
  const std::vector<float> zeros(static_cast<std::size_t>(shape.channels));
  for_tiles<4>(shape, maps, zeros.data(), 1, begin, end,
               [&](std::int64_t tile, const auto& pixels) {
                 float* row = to.data + (tile - to.first_tile) * shape.channels;
                 for (std::int64_t c = 0; c < shape.channels; c += kVec) {
                   Vec d[4][4], v[4][4];
                   for (int i = 0; i < 4; ++i) {
                     for (int j = 0; j < 4; ++j) d[i][j] = load(pixels[i][j] + c);
                   }
                   on_both_sides(by_inputs, d, v);
                   for (int i = 0; i < 4; ++i) {
                     for (int j = 0; j < 4; ++j) {
                       store(v[i][j], row + place_of(i, j, is_turned) * to.stride + c);
                     }
                   }
                 }
               });
}

void winograd_outputs(const WinogradMaps& shape, const WinogradTiles& from, bool is_turned,
                      const float* bias, float* maps, std::int64_t begin, std::int64_t end) {
  std::vector<float> beyond(static_cast<std::size_t>(shape.channels));
  for_tiles<2>(shape, maps, beyond.data(), 0, begin, end,
               [&](std::int64_t tile, const auto& pixels) {
                 const float* row = from.data + (tile - from.first_tile) * shape.channels;
                 for (std::int64_t c = 0; c < shape.channels; c += kVec) {
                   Vec m[4][4], y[2][2];
                   for (int i = 0; i < 4; ++i) {
                     for (int j = 0; j < 4; ++j) {
                       m[i][j] = load(row + place_of(i, j, is_turned) * from.stride + c);
                     }
                   }
                   on_both_sides(by_outputs, m, y);
                   const Vec b = bias != nullptr ? load(bias + c) : Vec{};
                   for (int i = 0; i < 2; ++i) {
                     for (int j = 0; j < 2; ++j) store(y[i][j] + b, pixels[i][j] + c);
                   }
                 }
               });
}

void winograd_output_gradients(const WinogradMaps& shape, const float* maps,
                               const WinogradTiles& to, std::int64_t begin, std::int64_t end) {
  const std::vector<float> zeros(static_cast<std::size_t>(shape.channels));
  for_tiles<2>(shape, maps, zeros.data(), 0, begin, end,
               [&](std::int64_t tile, const auto& pixels) {
                 float* row = to.data + (tile - to.first_tile) * shape.channels;
                 for (std::int64_t c = 0; c < shape.channels; c += kVec) {
                   Vec dy[2][2], m[4][4];
                   for (int i = 0; i < 2; ++i) {
                     for (int j = 0; j < 2; ++j) dy[i][j] = load(pixels[i][j] + c);
                   }
                   on_both_sides(by_output_gradients, dy, m);
                   for (int i = 0; i < 4; ++i) {
                     for (int j = 0; j < 4; ++j) store(m[i][j], row + (i * 4 + j) * to.stride + c);
                   }
                 }
               });
}

void winograd_weights(const WinogradWeights& shape, const float* weights, float* to,
                      bool is_transposed, std::int64_t begin, std::int64_t end) {
  const std::int64_t out = shape.out, in = shape.in;
  for (std::int64_t o = begin; o < end; o += kVec) {
    for (std::int64_t c = 0; c < in; c += kVec) {
      float square[16][kVec][kVec];  // of outputs and inputs
      for (std::int64_t k = 0; k < kVec; ++k) {
        const float* there = weights + ((o + k) * in + c) * 9;
        Vec g[3][3] = {}, u[4][4];  // gcc does not see that all lanes are set
        for (int i = 0; i < 9; ++i) {
          for (int j = 0; j < kVec; ++j) g[i / 3][i % 3][j] = there[j * 9 + i];
        }
        on_both_sides(by_weights, g, u);
        for (int i = 0; i < 16; ++i) store(u[i / 4][i % 4], square[i][k]);
      }
      for (int i = 0; i < 16; ++i) {
        float* matrix = to + i * out * in;
        for (int k = 0; k < kVec; ++k) {
          for (int j = 0; j < kVec; ++j) {
            if (is_transposed) {
              matrix[(c + k) * out + o + j] = square[i][j][k];
            } else {
              matrix[(o + k) * in + c + j] = square[i][k][j];
            }
          }
        }
      }
    }
  }
}

void winograd_weight_gradients(const WinogradWeights& shape, const float* from, float* gradient,
                               bool is_added, std::int64_t begin, std::int64_t end) {
  const std::int64_t out = shape.out, in = shape.in;
  for (std::int64_t o = begin; o < end; ++o) {
    for (std::int64_t c = 0; c < in; c += kVec) {
      float* there = gradient + (o * in + c) * 9;
      Vec u[4][4], g[3][3];
      for (int i = 0; i < 16; ++i) u[i / 4][i % 4] = load(from + (i * out + o) * in + c);
      on_both_sides(by_weight_gradients, u, g);
      for (int i = 0; i < 9; ++i) {
        for (int j = 0; j < kVec; ++j) {
          const float before = is_added ? there[j * 9 + i] : 0.0f;
          there[j * 9 + i] = before + g[i / 3][i % 3][j];
        }
      }
    }
  }
}

}  // namespace kiln
