// The products that cuBLASLt carries out on a GPU: their layouts, carried out here by plain loops
// over column-major matrices, against LibTorch's operators and their gradients; and the choice
// among algorithms.

#include "models/kernels/device/device_matmul.h"

#include <gtest/gtest.h>

#include "core/torch.h"
#include "models/kernels/device/measured_choice.h"
#include "models/kernels/elements.h"
#include "models/operators/fused.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

/// What cublasLtMatmul() documents for these descriptors.
void carry_out(const MatmulShape& s, const MatmulOperands& x) {
  const auto* A = static_cast<const float*>(x.a);
  const auto* B = static_cast<const float*>(x.b);
  auto* D = static_cast<float*>(x.d);
  auto* bias = static_cast<float*>(x.bias);
  auto* aux = static_cast<float*>(x.aux);
  const auto a = [&](auto i, auto l) {
    return s.is_a_transposed ? A[l + i * s.lda] : A[i + l * s.lda];
  };
  const auto b = [&](auto l, auto j) {
    return s.is_b_transposed ? B[j + l * s.ldb] : B[l + j * s.ldb];
  };
  for (std::int64_t j = 0; j < s.n; ++j) {
    for (std::int64_t i = 0; i < s.m; ++i) {
      float sum = 0.0f;
      for (std::int64_t l = 0; l < s.k; ++l) sum += a(i, l) * b(l, j);
      const std::int64_t at = i + j * s.ldd;
      if (s.epilogue == Epilogue::kGeluBias) {
        aux[at] = sum + bias[i];
        sum = gelu_tanh(aux[at]).value;
      }
      D[at] = sum + (x.is_added ? D[at] : 0.0f);
    }
    if (s.epilogue != Epilogue::kBiasGradient) continue;
    bias[j] = 0.0f;
    for (std::int64_t l = 0; l < s.k; ++l) bias[j] += b(l, j);
  }
}

/// fp32 sums of different order.
void expect_near(const at::Tensor& got, const at::Tensor& expected) {
  ASSERT_EQ(got.sizes(), expected.sizes());
  const double largest = expected.abs().max().item<double>();
  EXPECT_GT(largest, 0.0);
  EXPECT_LE((got - expected).abs().max().item<double>(), 1e-5 * largest);
}

struct Sizes {
  std::int64_t N, D, F;
};
const std::vector<Sizes> kSizes = {{1, 1, 1}, {5, 3, 7}, {16, 8, 24}, {9, 17, 2}};

TEST(DeviceMatmul, HiddenLayerIsThatOfThePlainMlp) {
  for (const auto& [N, D, F] : kSizes) {
    const at::Tensor x = normal({N, D}, 1), w1 = normal({F, D}, 2), b1 = normal({F}, 3);
    const at::Tensor w2 = normal({D, F}, 4);
    const at::Tensor y = plain_mlp(x, {w1, b1, w2}, /*is_tanh=*/true);
    const at::Tensor u = at::empty({N, F}), a = at::empty({N, F});
    carry_out(gelu_shape(N, D, F), {.a = w1.data_ptr(),
                                    .b = x.data_ptr(),
                                    .d = a.data_ptr(),
                                    .bias = b1.data_ptr(),
                                    .aux = u.data_ptr()});
    expect_near(at::mm(a, w2.t()), y);
    expect_near(u, at::linear(x, w1, b1));
  }
}

TEST(DeviceMatmul, WeightGradientIsThatOfALinearLayer) {
  for (const auto& [N, in, out] : kSizes) {
    const at::Tensor x = normal({N, in}, 1), dy = normal({N, out}, 2);
    const at::Tensor w = normal({out, in}, 3).requires_grad_();
    const at::Tensor b = normal({out}, 4).requires_grad_();
    at::linear(x, w, b).backward(dy);
    for (const bool is_added : {false, true}) {
      const at::Tensor dw = at::ones({out, in}), db = at::empty({out});
      carry_out(weight_gradient_shape(N, in, out), {.a = x.data_ptr(),
                                                    .b = dy.data_ptr(),
                                                    .d = dw.data_ptr(),
                                                    .bias = db.data_ptr(),
                                                    .is_added = is_added});
      expect_near(dw, is_added ? w.grad() + 1.0 : w.grad());
      expect_near(db, b.grad());
    }
  }
}

// On a GPU the fused operators would quietly go on without it.
TEST(DeviceMatmul, CublasLtTakesAlignedShapesInBf16) {
  if (!torch::cuda::is_available()) {
    GTEST_SKIP() << "no GPU: none visible, no driver, or a build without CUDA";
  }
  const std::int64_t N = 128, D = 64, F = 256;
  const auto make = [](at::IntArrayRef shape) {
    return normal(shape, 1).to(at::Device(at::kCUDA, 0), at::kBFloat16);
  };
  const at::Tensor x = make({N, D}), w = make({F, D}), b = make({F}), u = make({N, F});
  const at::Tensor a = at::empty_like(u), dw = at::empty_like(w);
  EXPECT_TRUE(device_matmul(gelu_shape(N, D, F), {.a = w.data_ptr(),
                                                  .b = x.data_ptr(),
                                                  .d = a.data_ptr(),
                                                  .bias = b.data_ptr(),
                                                  .aux = u.data_ptr(),
                                                  .is_bf16 = true}));
  EXPECT_TRUE(device_matmul(weight_gradient_shape(N, D, F), {.a = x.data_ptr(),
                                                             .b = a.data_ptr(),
                                                             .d = dw.data_ptr(),
                                                             .bias = b.data_ptr(),
                                                             .is_bf16 = true}));
}

TEST(MeasuredChoice, TakesTheQuickestThatWorksAndMeasuresOnce) {
  MeasuredChoice<int> choices;
  const std::vector<double> seconds = {3.0, 1.0, 2.0, 0.5};
  std::vector<int> calls(seconds.size());
  const auto measure = [&](std::size_t i) {
    ++calls[i];
    if (i == 3) throw std::runtime_error("does not take it");
    return seconds[i];
  };
  EXPECT_EQ(choices.choose(7, 4, measure), 1u);
  EXPECT_EQ(choices.choose(7, 4, measure), 1u);
  EXPECT_EQ(calls, (std::vector<int>{1, 1, 1, 1}));
  EXPECT_EQ(choices.choose(8, 1, measure), 0u);
  EXPECT_EQ(calls[0], 2);
}

TEST(MeasuredChoice, NoneWorks) {
  MeasuredChoice<int> choices;
  const auto measure = [](std::size_t) -> double { throw std::runtime_error("does not take it"); };
  EXPECT_EQ(choices.choose(7, 2, measure), std::nullopt);
}

}  // namespace
}  // namespace kiln
