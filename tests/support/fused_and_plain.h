#pragma once

#include <gtest/gtest.h>

#include <functional>

#include "core/torch.h"
#include "tests/support/normal.h"

// For tests that hold a fused layer against the plain one which is its specification.

namespace kiln {

using Tensors = std::vector<at::Tensor>;
using Call = std::function<Tensors(const Tensors&)>;

/// Outputs, then the gradients of a sum of the outputs with fixed random weights.
inline Tensors outputs_and_gradients(const Tensors& inputs, const Call& call) {
  Tensors leaves;
  for (const at::Tensor& x : inputs) {
    leaves.push_back(x.defined() ? x.detach().clone().requires_grad_() : x);
  }
  Tensors results = call(leaves);
  at::Tensor total;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const at::Tensor weights =
        normal(results[i].sizes(), 100 + static_cast<std::int64_t>(i)).to(results[i].device());
    const at::Tensor part = (results[i].to(at::kFloat) * weights).sum();
    total = total.defined() ? total + part : part;
  }
  total.backward();
  for (const at::Tensor& leaf : leaves) {
    if (leaf.defined()) results.push_back(leaf.grad());
  }
  return results;
}

/// Within `tolerance` of the largest value: fp32 sums of different order, or bf16's rounding of
/// what the plain version rounds at other places.
inline void expect_same(const Tensors& inputs, const Call& fused, const Call& plain,
                        double tolerance) {
  const Tensors got = outputs_and_gradients(inputs, fused);
  const Tensors expected = outputs_and_gradients(inputs, plain);
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(got[i].defined() && expected[i].defined()) << i;
    EXPECT_EQ(got[i].sizes(), expected[i].sizes()) << i;
    EXPECT_EQ(got[i].scalar_type(), expected[i].scalar_type()) << i;
    const double largest = expected[i].to(at::kDouble).abs().max().item<double>();
    const double error =
        (got[i].to(at::kDouble) - expected[i].to(at::kDouble)).abs().max().item<double>();
    EXPECT_LE(error, tolerance * largest) << "tensor " << i << ", largest value " << largest;
  }
}

inline void expect_same_on(at::Device device, const Tensors& inputs, const Call& fused,
                           const Call& plain, double tolerance) {
  Tensors there;
  for (const at::Tensor& x : inputs) there.push_back(x.defined() ? x.to(device) : x);
  // Two products in fp32 there may differ in the order of their sums.
  expect_same(there, fused, plain, device.is_cuda() ? 2 * tolerance : tolerance);
}

/// The host, and a GPU where there is one.
inline std::vector<at::Device> devices() {
  std::vector<at::Device> all = {at::kCPU};
  if (torch::cuda::is_available()) all.emplace_back(at::kCUDA, 0);
  return all;
}

inline double tolerance_of(at::ScalarType type) { return type == at::kFloat ? 5e-6 : 3e-2; }

}  // namespace kiln
