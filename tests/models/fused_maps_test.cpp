// Fused layers over feature maps.

#include "models/layers/fused.h"
#include "tests/support/fused_and_plain.h"

namespace kiln {
namespace {

TEST(FusedMaps, GroupNormIsThePlainOne) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool has_silu : {false, true}) {
      for (const bool has_shift : {false, true}) {
        const at::Tensor maps = normal({2, 24, 5, 7}, 1, type);
        const Tensors inputs = {maps, normal({24}, 2, type), normal({24}, 3, type),
                                has_shift ? normal({2, 24}, 4, type) : at::Tensor()};
        const auto input = [&](const Tensors& x) {
          return GroupNormInput{.x = x[0],
                                .gamma = x[1],
                                .beta = x[2],
                                .shift = x[3],
                                .groups = 6,
                                .has_silu = has_silu};
        };
        for (const at::Device device : devices()) {
          expect_same_on(
              device, inputs, [&](const Tensors& x) { return Tensors{fused_group_norm(input(x))}; },
              [&](const Tensors& x) { return Tensors{plain_group_norm(input(x))}; },
              tolerance_of(type));
        }
      }
    }
  }
}

TEST(FusedMaps, ConvolutionIsThePlainOne) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t kernel : {1, 3}) {
      for (const bool has_bias : {false, true}) {
        const Tensors inputs = {normal({2, 24, 6, 7}, 1, type),
                                normal({16, 24, kernel, kernel}, 2, type),
                                has_bias ? normal({16}, 3, type) : at::Tensor()};
        const auto weights = [&](const Tensors& x) {
          return ConvWeights{x[1], x[2], kernel == 3 ? 2 : 1, kernel / 2};
        };
        for (const at::Device device : devices()) {
          expect_same_on(
              device, inputs,
              [&](const Tensors& x) { return Tensors{fused_conv(x[0], weights(x))}; },
              [&](const Tensors& x) { return Tensors{plain_conv(x[0], weights(x))}; },
              tolerance_of(type));
        }
      }
    }
  }
}

TEST(FusedMaps, BiasedSumIsThePlainOne) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t channels : {24, 5}) {
      const Tensors inputs = {normal({2, channels, 6, 7}, 1, type),
                              normal({2, channels, 6, 7}, 2, type), normal({channels}, 3, type)};
      for (const at::Device device : devices()) {
        expect_same_on(
            device, inputs,
            [](const Tensors& x) { return Tensors{fused_biased_sum(x[0], x[1], x[2])}; },
            [](const Tensors& x) { return Tensors{plain_biased_sum(x[0], x[1], x[2])}; },
            tolerance_of(type));
      }
    }
  }
}

TEST(FusedMaps, ChannelsAreJoinedAsByCat) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t second : {8, 5}) {
      const Tensors inputs = {normal({2, 24, 3, 7}, 1, type), normal({2, second, 3, 7}, 2, type)};
      for (const at::Device device : devices()) {
        expect_same_on(
            device, inputs,
            [](const Tensors& x) { return Tensors{fused_channel_join(x[0], x[1])}; },
            [](const Tensors& x) {
              return Tensors{at::cat({x[0], x[1]}, 1)};
            },
            0.0);
      }
    }
  }
}

}  // namespace
}  // namespace kiln
