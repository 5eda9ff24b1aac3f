#pragma once

#include <cstdint>

namespace kiln {

// Convolutions of 3 x 3 taps, stride 1 and padding 1 in fp32 with 2.25 times fewer multiplications:
// F(2 x 2, 3 x 3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
// Outputs are made in tiles of 2 x 2, of 4 x 4 inputs d and 3 x 3 weights g:
//
//   Y = A^T [ sum over input channels of (G g G^T) * (B^T d B) ] A.
//
// In between each of the 16 values of a tile is a product of matrices of its own. Maps are
// [B, H, W, C], channels a multiple of 8; what lies outside them is 0.

struct WinogradMaps {
  std::int64_t batch = 0, height = 0, width = 0, channels = 0;
  std::int64_t rows_of_tiles() const { return (height + 1) / 2; }
  std::int64_t columns_of_tiles() const { return (width + 1) / 2; }
  std::int64_t num_tiles() const { return batch * rows_of_tiles() * columns_of_tiles(); }
};

/// 16 matrices [tiles, channels], `stride` values apart; their first row is that of `first_tile`.
struct WinogradTiles {
  float* data = nullptr;
  std::int64_t stride = 0, first_tile = 0;
};

// Of tiles [begin, end). Where `is_turned`, the 16 are in the order in which the weights turned by
// 180 degrees meet them, which is how backward uses them.
void winograd_inputs(const WinogradMaps& shape, const float* maps, const WinogradTiles& to,
                     bool is_turned, std::int64_t begin, std::int64_t end);  // B^T d B
void winograd_outputs(const WinogradMaps& shape, const WinogradTiles& from, bool is_turned,
                      const float* bias, float* maps, std::int64_t begin, std::int64_t end);
void winograd_output_gradients(const WinogradMaps& shape, const float* maps,
                               const WinogradTiles& to, std::int64_t begin, std::int64_t end);

struct WinogradWeights {
  std::int64_t out = 0, in = 0;
};

// Of output channels [begin, end), both multiples of 8.
/// G g G^T: [out, in, 3, 3] to [16, out, in], or to [16, in, out] where `is_transposed`.
void winograd_weights(const WinogradWeights& shape, const float* weights, float* to,
                      bool is_transposed, std::int64_t begin, std::int64_t end);
/// The way back, G^T u G, from [16, out, in]: gradients are written, or added where `is_added`.
void winograd_weight_gradients(const WinogradWeights& shape, const float* from, float* gradient,
                               bool is_added, std::int64_t begin, std::int64_t end);

}  // namespace kiln
