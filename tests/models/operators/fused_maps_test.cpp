// Fused layers over feature maps.

#include "models/kernels/conv_weights.h"
#include "models/operators/batch_norm.h"
#include "models/operators/fused.h"
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

struct BatchNormCase {
  bool has_affine, has_added, has_relu;
};
const std::vector<BatchNormCase> kBatchNorms = {{true, false, false},
                                                {true, false, true},
                                                {true, true, true},
                                                {true, true, false},
                                                {false, false, false}};

Tensors batch_norm_inputs(const BatchNormCase& c, at::IntArrayRef shape, at::ScalarType type) {
  const auto affine = [&](std::int64_t number) {
    return c.has_affine ? normal({24}, number, type) : at::Tensor();
  };
  // A mean that is large beside the deviation.
  return {normal(shape, 1, type) + 3.0, affine(2), affine(3),
          c.has_added ? normal(shape, 4, type) : at::Tensor()};
}

Tensors batch_normed(BatchNormOutput (*function)(const BatchNormInput&), const BatchNormCase& c,
                     const Tensors& x) {
  BatchNormInput in{.x = x[0], .gamma = x[1], .beta = x[2], .added = x[3]};
  in.has_relu = c.has_relu;
  const BatchNormOutput out = function(in);
  return {out.y, out.statistics};
}

// Several chunks of rows, the last one short; and rows without pixels.
const std::vector<std::vector<std::int64_t>> kBatchNormShapes = {
    {2, 24, 5, 7}, {3, 24, 40, 37}, {5, 24}};

TEST(FusedMaps, BatchNormIsThePlainOne) {
  for (const auto& shape : kBatchNormShapes) {
    for (const BatchNormCase& c : kBatchNorms) {
      SCOPED_TRACE(testing::Message() << "affine " << c.has_affine << " added " << c.has_added
                                      << " relu " << c.has_relu);
      for (const at::Device device : devices()) {
        expect_same_on(
            device, batch_norm_inputs(c, shape, at::kFloat),
            [&](const Tensors& x) { return batch_normed(fused_batch_norm, c, x); },
            [&](const Tensors& x) { return batch_normed(plain_batch_norm, c, x); },
            tolerance_of(at::kFloat));
      }
    }
  }
}

// The plain one in bf16 rounds between its steps, and another ReLU's input may turn its sign.
TEST(FusedMaps, BatchNormInBf16FollowsFp32) {
  for (const auto& shape : kBatchNormShapes) {
    for (const BatchNormCase& c : kBatchNorms) {
      const Tensors inputs = batch_norm_inputs(c, shape, at::kBFloat16);
      Tensors wide;
      for (const at::Tensor& x : inputs) wide.push_back(x.defined() ? x.to(at::kFloat) : x);
      const auto call = [&](const Tensors& x) { return batch_normed(fused_batch_norm, c, x); };
      const Tensors got = outputs_and_gradients(inputs, call);
      const Tensors expected = outputs_and_gradients(wide, call);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const at::Tensor error = (got[i].to(at::kFloat) - expected[i]).abs().max();
        EXPECT_LE(error.item<float>(), 1e-2f * expected[i].abs().max().item<float>())
            << "tensor " << i << ", affine " << c.has_affine << " added " << c.has_added << " relu "
            << c.has_relu;
      }
    }
  }
}

TEST(FusedMaps, BatchNormByGivenStatisticsIsThePlainOne) {
  const at::NoGradGuard no_grad;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    BatchNormInput in{.x = normal({2, 24, 5, 7}, 1, type), .gamma = normal({24}, 2, type)};
    in.beta = normal({24}, 3, type);
    in.added = normal({2, 24, 5, 7}, 4, type);
    in.mean = normal({24}, 5);
    in.variance = normal({24}, 6).square() + 0.1;
    in.has_relu = true;
    const at::Tensor got = fused_batch_norm(in).y, expected = plain_batch_norm(in).y;
    EXPECT_LE((got - expected).abs().max().item<double>(),
              tolerance_of(type) * expected.abs().max().item<double>());
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

// One pixel, odd sides, one block of tiles that is not whole, several blocks.
TEST(FusedMaps, WinogradConvolutionIsThePlainOne) {
  using Sizes = std::array<std::int64_t, 3>;
  for (const auto& [batch, height, width] : {Sizes{1, 1, 1}, {2, 5, 8}, {3, 8, 7}, {1, 33, 34}}) {
    for (const auto& [in, out] : {std::pair{32, 40}, {104, 32}}) {
      for (const bool has_bias : {false, true}) {
        const Tensors inputs = {normal({batch, in, height, width}, 1),
                                normal({out, in, 3, 3}, 2) / 20,
                                has_bias ? normal({out}, 3) : at::Tensor()};
        const auto weights = [](const Tensors& x) { return ConvWeights{x[1], x[2], 1, 1}; };
        if (!runs_in_winograd(inputs[0], weights(inputs))) {
          GTEST_SKIP() << "this processor has no AVX-512";
        }
        expect_same_on(
            at::kCPU, inputs,
            [&](const Tensors& x) { return Tensors{fused_conv(x[0], weights(x))}; },
            [&](const Tensors& x) { return Tensors{plain_conv(x[0], weights(x))}; },
            tolerance_of(at::kFloat));
      }
    }
  }
}

TEST(FusedMaps, WinogradConvolutionDoesNotDependOnThreads) {
  const int before = at::get_num_threads();
  const auto results = [](int threads) {
    at::set_num_threads(threads);
    return outputs_and_gradients({normal({3, 32, 39, 38}, 1), normal({64, 32, 3, 3}, 2)},
                                 [](const Tensors& x) {
                                   return Tensors{fused_conv(x[0], {x[1], {}, 1, 1})};
                                 });
  };
  const Tensors one = results(1);
  for (const int threads : {2, 3}) {
    const Tensors more = results(threads);
    for (std::size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(at::equal(one[i], more[i])) << "tensor " << i << ", " << threads;
    }
  }
  at::set_num_threads(before);
}

// More tiles than one product of the weights' gradient takes.
TEST(FusedMaps, WinogradConvolutionInSeveralChunks) {
  const Tensors inputs = {normal({1, 256, 66, 66}, 1), normal({256, 256, 3, 3}, 2) / 48};
  const auto weights = [](const Tensors& x) { return ConvWeights{x[1], {}, 1, 1}; };
  if (!runs_in_winograd(inputs[0], weights(inputs))) GTEST_SKIP() << "no AVX-512";
  expect_same_on(
      at::kCPU, inputs, [&](const Tensors& x) { return Tensors{fused_conv(x[0], weights(x))}; },
      [&](const Tensors& x) { return Tensors{plain_conv(x[0], weights(x))}; }, 1e-4);
}

// Beyond a tile of inputs, and outputs in two parts.
TEST(FusedMaps, WeightsGoToChannelsLastAndBack) {
  for (const std::int64_t inputs : {3, 64, 131}) {
    const ConvWeightShape shape{5, inputs, 9};
    const at::Tensor plain = normal({5, inputs, 9}, 1), before = normal({5, inputs, 9}, 2);
    const at::Tensor last = at::empty({5, 9, inputs});
    at::Tensor copied = before.clone(), added = before.clone();
    for (const auto& [begin, end] : {std::pair{0, 2}, {2, 5}}) {
      weights_to_channels_last(shape, plain.const_data_ptr<float>(), last.data_ptr<float>(), begin,
                               end);
      for (at::Tensor* to : {&copied, &added}) {
        weights_from_channels_last(shape, last.const_data_ptr<float>(), to->data_ptr<float>(),
                                   to == &added, begin, end);
      }
    }
    EXPECT_TRUE(at::equal(last, plain.transpose(1, 2)));
    EXPECT_TRUE(at::equal(copied, plain));
    EXPECT_TRUE(at::equal(added, before + plain));
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
