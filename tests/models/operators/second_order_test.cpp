#include "models/operators/second_order.h"

#include <cmath>

#include "core/optimizer/flat_backward.h"
#include "models/layers/block.h"
#include "models/layers/conv.h"
#include "models/operators/attend.h"
#include "models/operators/batch_norm.h"
#include "models/operators/fused.h"
#include "tests/support/fused_and_plain.h"

// Gradient penalties through the hand-written operators, against LibTorch's operations in double
// precision on the same numbers.

namespace kiln {
namespace {

/// A function of inputs [0] and weights [1 ...], as it is written here and with LibTorch alone.
struct Operator {
  std::string name;
  Tensors inputs;  // fp64
  Call own, plain;
};

/// Gradients of score + sum |d score / d x|^2 at all leaves, x the first `differentiated` inputs.
Tensors penalised_gradients(const Tensors& inputs, const Call& call, at::ScalarType type,
                            std::size_t differentiated) {
  Tensors leaves, x;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.defined() ? input.to(type).clone().requires_grad_() : input);
    if (leaves.size() <= differentiated && input.defined()) x.push_back(leaves.back());
  }
  const Tensors out = call(leaves);
  at::Tensor score = at::zeros({}, type);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const at::Tensor weights = normal(out[i].sizes(), 100 + static_cast<std::int64_t>(i), type);
    score = score + (at::tanh(out[i]) * weights.to(out[i].device())).sum();
  }
  at::Tensor loss = score;
  for (const at::Tensor& gradient : torch::autograd::grad({score}, x, {}, /*retain_graph=*/true,
                                                          /*create_graph=*/true)) {
    loss = loss + gradient.square().sum();
  }
  loss.backward();
  Tensors gradients;
  for (const at::Tensor& leaf : leaves) {
    if (leaf.defined()) gradients.push_back(leaf.grad());
  }
  return gradients;
}

/// In fp32 the bound is some hundred roundings of the largest value: sums over at most a few
/// hundred terms, twice.
void expect_same_penalty(const Operator& op) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    for (const std::size_t differentiated : {std::size_t{1}, op.inputs.size()}) {
      SCOPED_TRACE(testing::Message()
                   << op.name << " in " << type << ", penalty on " << differentiated << " inputs");
      const Tensors got = penalised_gradients(op.inputs, op.own, type, differentiated);
      const Tensors expected =
          penalised_gradients(op.inputs, op.plain, at::kDouble, differentiated);
      for (std::size_t i = 0; i < got.size(); ++i) {
        ASSERT_TRUE(got[i].defined() && expected[i].defined()) << i;
        const at::Tensor error = (got[i].to(at::kDouble) - expected[i]).abs().max();
        const double largest = std::max(1.0, expected[i].abs().max().item<double>());
        EXPECT_LE(error.item<double>(), (type == at::kDouble ? 1e-10 : 3e-5) * largest) << i;
      }
    }
  }
}

at::Tensor numbers(at::IntArrayRef shape, std::int64_t number, double scale = 1.0) {
  return normal(shape, number, at::kDouble) * scale;
}

at::Tensor products_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& mask) {
  at::Tensor scores =
      at::matmul(q, k.transpose(-2, -1)) / std::sqrt(static_cast<double>(q.size(-1)));
  if (mask.defined()) scores = scores.masked_fill(mask.logical_not(), -1e30);
  return at::matmul(scores.softmax(-1), v);
}

at::Tensor packed_attention(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& mask) {
  Tensors parts;
  for (const at::Tensor& part : qkv.chunk(3, -1)) {
    parts.push_back(part.unflatten(-1, {heads, -1}).transpose(1, 2));
  }
  return products_attention(parts[0], parts[1], parts[2], mask).transpose(1, 2).flatten(2);
}

TEST(SecondOrder, Linear) {
  const Tensors inputs = {numbers({3, 5, 7}, 1), numbers({6, 7}, 2, 0.4), numbers({6}, 3)};
  expect_same_penalty({"linear", inputs,
                       [](const Tensors& x) { return Tensors{fused_linear(x[0], x[1], x[2])}; },
                       [](const Tensors& x) { return Tensors{at::linear(x[0], x[1], x[2])}; }});
  expect_same_penalty(
      {"linear of a transposed input, without bias",
       {numbers({3, 7, 5}, 1), inputs[1]},
       [](const Tensors& x) { return Tensors{fused_linear(x[0].transpose(1, 2), x[1], {})}; },
       [](const Tensors& x) { return Tensors{at::linear(x[0].transpose(1, 2), x[1])}; }});
}

TEST(SecondOrder, Mlp) {
  const Tensors inputs = {numbers({3, 5, 8}, 1), numbers({12, 8}, 2, 0.4), numbers({12}, 3),
                          numbers({8, 12}, 4, 0.3)};
  for (const bool is_tanh : {false, true}) {
    expect_same_penalty({is_tanh ? "mlp, tanh" : "mlp, erf", inputs,
                         [&](const Tensors& x) {
                           return Tensors{fused_mlp(x[0], {x[1], x[2], x[3]}, is_tanh)};
                         },
                         [&](const Tensors& x) {
                           const at::Tensor u = at::linear(x[0], x[1], x[2]);
                           return Tensors{at::linear(at::gelu(u, is_tanh ? "tanh" : "none"), x[3])};
                         }});
  }
}

TEST(SecondOrder, Attention) {
  const at::Tensor document = at::tensor({0, 0, 1, 1, 1}, at::kLong);
  const at::Tensor mask = document.unsqueeze(1).eq(document.unsqueeze(0)).view({1, 1, 5, 5});
  for (const at::Tensor& own_mask : {at::Tensor(), mask}) {
    expect_same_penalty(
        {"self-attention",
         {numbers({2, 5, 24}, 1)},
         [&](const Tensors& x) {
           DropoutStream none;
           return Tensors{fused_self_attend(x[0], 2, own_mask, 0.0, none)};
         },
         [&](const Tensors& x) { return Tensors{packed_attention(x[0], 2, own_mask)}; }});
    expect_same_penalty(
        {"attention",
         {numbers({2, 3, 5, 4}, 1), numbers({2, 3, 5, 4}, 2), numbers({2, 3, 5, 4}, 3)},
         [&](const Tensors& x) {
           DropoutStream none;
           return Tensors{attend(x[0], x[1], x[2], own_mask, 0.0, none)};
         },
         [&](const Tensors& x) {
           return Tensors{products_attention(x[0], x[1], x[2], own_mask)};
         }});
  }
}

// A bias that is learnt, as BEiT's, is added to the scores.
TEST(SecondOrder, AttentionWithLearntBias) {
  expect_same_penalty({"attention with a bias",
                       {numbers({2, 3, 5, 4}, 1), numbers({2, 3, 5, 4}, 2),
                        numbers({2, 3, 5, 4}, 3), numbers({1, 3, 5, 5}, 4)},
                       [&](const Tensors& x) {
                         DropoutStream none;
                         return Tensors{attend(x[0], x[1], x[2], x[3], 0.0, none)};
                       },
                       [&](const Tensors& x) {
                         const at::Tensor scores =
                             at::matmul(x[0], x[1].transpose(-2, -1)) / 2.0 + x[3];
                         return Tensors{at::matmul(scores.softmax(-1), x[2])};
                       }});
}

TEST(SecondOrder, AttentionWithDropout) {
  const DropoutStream stream(7, 1000);
  DropoutStream draws = stream;
  const at::Tensor keep = draws.dropout(at::ones({2, 2, 5, 5}, at::kDouble), 0.25);
  expect_same_penalty(
      {"self-attention with dropout",
       {numbers({2, 5, 24}, 1)},
       [&](const Tensors& x) {
         DropoutStream drop = stream;
         return Tensors{fused_self_attend(x[0], 2, {}, 0.25, drop)};
       },
       [&](const Tensors& x) {
         Tensors parts;
         for (const at::Tensor& part : x[0].chunk(3, -1)) {
           parts.push_back(part.unflatten(-1, {2, -1}).transpose(1, 2));
         }
         const at::Tensor scores = at::matmul(parts[0], parts[1].transpose(-2, -1)) / 2.0;
         return Tensors{at::matmul(scores.softmax(-1) * keep, parts[2]).transpose(1, 2).flatten(2)};
       }});
}

TEST(SecondOrder, LayerNorm) {
  expect_same_penalty(
      {"layer norm",
       {numbers({3, 5, 8}, 1), numbers({8}, 2), numbers({8}, 3)},
       [](const Tensors& x) {
         DropoutStream none;
         return Tensors{fused_residual_norm({.x = x[0], .gamma = x[1], .beta = x[2]}, none).n};
       },
       [](const Tensors& x) { return Tensors{at::layer_norm(x[0], {8}, x[1], x[2], 1e-6)}; }});
}

struct NormCase {
  bool has_gate, has_norm, is_by_sample, has_dropout, uses_h;
};

TEST(SecondOrder, ResidualNorm) {
  const DropoutStream stream(7, 1000);
  DropoutStream draws = stream;
  const at::Tensor keep = draws.dropout(at::ones({3, 5, 8}, at::kDouble), 0.25);
  for (const NormCase& c : std::vector<NormCase>{{false, true, false, false, true},
                                                 {false, true, false, true, false},
                                                 {false, false, false, true, true},
                                                 {true, true, true, false, true},
                                                 {true, true, false, true, true},
                                                 {true, false, false, false, true}}) {
    const auto affine = [&](std::int64_t number) {
      if (!c.has_norm) return at::Tensor();
      return c.is_by_sample ? numbers({3, 1, 8}, number) : numbers({8}, number);
    };
    const Tensors inputs = {numbers({3, 5, 8}, 1),
                            numbers({3, 5, 8}, 2),
                            numbers({8}, 3),
                            c.has_gate ? numbers({3, 1, 8}, 4) : at::Tensor(),
                            affine(5),
                            affine(6)};
    const double offset = c.is_by_sample ? 1.0 : 0.0;
    const auto own = [&](const Tensors& x) {
      DropoutStream drop = stream;
      ResidualNormInput in{.x = x[0], .y = x[1], .bias = x[2], .gate = x[3]};
      in.gamma = x[4];
      in.beta = x[5];
      in.gamma_offset = offset;
      in.dropout = c.has_dropout ? 0.25 : 0.0;
      in.has_norm = c.has_norm;
      const ResidualNormOutput out = fused_residual_norm(in, drop);
      Tensors results;
      if (c.uses_h) results.push_back(out.h);
      if (c.has_norm) results.push_back(out.n);
      return results;
    };
    const auto plain = [&](const Tensors& x) {
      at::Tensor branch = x[1] + x[2];
      if (c.has_dropout) branch = branch * keep;
      const at::Tensor h = x[0] + (c.has_gate ? x[3] * branch : branch);
      Tensors results;
      if (c.uses_h) results.push_back(h);
      if (c.has_norm) {
        results.push_back(at::layer_norm(h, {8}, {}, {}, 1e-6) * (x[4] + offset) + x[5]);
      }
      return results;
    };
    expect_same_penalty({"residual norm", inputs, own, plain});
  }
}

TEST(SecondOrder, GroupNorm) {
  for (const bool has_silu : {false, true}) {
    for (const bool has_shift : {false, true}) {
      expect_same_penalty(
          {has_silu ? "group norm, silu" : "group norm",
           {numbers({2, 8, 3, 4}, 1), numbers({8}, 2), numbers({8}, 3),
            has_shift ? numbers({2, 8}, 4) : at::Tensor()},
           [&](const Tensors& x) {
             return Tensors{fused_group_norm({.x = x[0],
                                              .gamma = x[1],
                                              .beta = x[2],
                                              .shift = x[3],
                                              .groups = 4,
                                              .has_silu = has_silu})};
           },
           [&](const Tensors& x) {
             const at::Tensor in = has_shift ? x[0] + x[3].view({2, 8, 1, 1}) : x[0];
             const at::Tensor y = at::group_norm(in, 4, x[1], x[2], 1e-5);
             return Tensors{has_silu ? at::silu(y) : y};
           }});
    }
  }
}

TEST(SecondOrder, BatchNorm) {
  for (const bool has_relu : {false, true}) {
    for (const bool has_added : {false, true}) {
      expect_same_penalty(
          {has_relu ? "batch norm, relu" : "batch norm",
           {numbers({3, 6, 3, 4}, 1), numbers({6}, 2), numbers({6}, 3),
            has_added ? numbers({3, 6, 3, 4}, 4) : at::Tensor()},
           [&](const Tensors& x) {
             BatchNormInput in{.x = x[0], .gamma = x[1], .beta = x[2], .added = x[3]};
             in.has_relu = has_relu;
             return Tensors{fused_batch_norm(in).y};
           },
           [&](const Tensors& x) {
             at::Tensor y = at::batch_norm(x[0], x[1], x[2], {}, {}, true, 0.0, 1e-5, false);
             if (has_added) y = y + x[3];
             return Tensors{has_relu ? at::relu(y) : y};
           }});
    }
  }
}

struct ConvCase {
  std::int64_t in, out, kernel, stride, padding;
};

TEST(SecondOrder, Convolution) {
  for (const ConvCase& c : std::vector<ConvCase>{
           {4, 6, 3, 2, 1}, {4, 6, 1, 1, 0}, {3, 5, 4, 2, 1}, {32, 32, 3, 1, 1}}) {
    const double scale = 1.0 / std::sqrt(static_cast<double>(c.in * c.kernel * c.kernel));
    expect_same_penalty(
        {"convolution",
         {numbers({2, c.in, 6, 6}, 1), numbers({c.out, c.in, c.kernel, c.kernel}, 2, scale),
          numbers({c.out}, 3)},
         [&](const Tensors& x) {
           return Tensors{fused_conv(x[0], {x[1], x[2], c.stride, c.padding})};
         },
         [&](const Tensors& x) {
           return Tensors{at::conv2d(x[0], x[1], x[2], at::IntArrayRef{c.stride, c.stride},
                                     at::IntArrayRef{c.padding, c.padding})};
         }});
  }
}

TEST(SecondOrder, SumsAndJoinsOfMaps) {
  const Tensors inputs = {numbers({2, 4, 3, 3}, 1), numbers({2, 4, 3, 3}, 2), numbers({4}, 3)};
  expect_same_penalty(
      {"sum and join", inputs,
       [](const Tensors& x) {
         return Tensors{fused_biased_sum(x[0], x[1], x[2]), fused_channel_join(x[0], x[1])};
       },
       [](const Tensors& x) {
         return Tensors{x[0] + x[1] + x[2].view({1, 4, 1, 1}), at::cat({x[0], x[1]}, 1)};
       }});
}

TEST(SecondOrder, Vocabulary) {
  const at::Tensor ids = at::tensor({4, 0, 4, 6, 3, 4}, at::kLong);
  expect_same_penalty(
      {"embedding",
       {numbers({7, 5}, 1)},
       [&](const Tensors& x) { return Tensors{fused_embedding(x[0], ids).square()}; },
       [&](const Tensors& x) { return Tensors{at::embedding(x[0], ids).square()}; }});
  expect_same_penalty({"cross entropy",
                       {numbers({6, 9}, 1)},
                       [&](const Tensors& x) {
                         return Tensors{fused_cross_entropy(x[0], ids).sum.to(x[0].scalar_type())};
                       },
                       [&](const Tensors& x) {
                         return Tensors{at::cross_entropy_loss(x[0], ids, {}, at::Reduction::Sum)};
                       }});
}

// Gate, gamma and beta that are themselves functions of x: each has its own part of the gradient.
TEST(SecondOrder, InputsThatDependOnOneAnother) {
  expect_same_penalty(
      {"modulated norm",
       {numbers({3, 5, 8}, 1), numbers({24, 8}, 2, 0.4)},
       [](const Tensors& x) {
         DropoutStream none;
         const Tensors parts = fused_linear(x[0].mean(1, true), x[1], {}).chunk(3, -1);
         ResidualNormInput in{.x = x[0], .y = x[0], .gate = parts[0]};
         in.gamma = parts[1];
         in.beta = parts[2];
         in.gamma_offset = 1.0;
         return Tensors{fused_residual_norm(in, none).n};
       },
       [](const Tensors& x) {
         const Tensors parts = at::linear(x[0].mean(1, true), x[1]).chunk(3, -1);
         const at::Tensor h = x[0] + parts[0] * x[0];
         return Tensors{at::layer_norm(h, {8}, {}, {}, 1e-6) * (parts[1] + 1.0) + parts[2]};
       }});
}

class SilentHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  void operator()(const at::Tensor&) override {}
};

at::Tensor trained_weight() {
  at::Tensor weight = normal({6, 8}, 2).requires_grad_();
  weight.mutable_grad() = at::zeros({6, 8});
  torch::autograd::impl::set_post_acc_grad_hooks(weight, std::make_unique<SilentHook>());
  return weight;
}

// What a loss takes for itself is handed to it, and the step's gradient is left alone.
TEST(SecondOrder, GradientsThatALossTakesStayOutOfFlatMemory) {
  const at::Tensor x = normal({5, 8}, 1), weight = trained_weight();
  const at::Tensor y = fused_linear(x, weight, {}).sum();
  const at::Tensor taken = torch::autograd::grad({y}, {weight}, {}, /*retain_graph=*/true)[0];
  EXPECT_TRUE(at::allclose(taken, x.sum(0).expand({6, 8})));
  EXPECT_EQ(weight.grad().abs().max().item<float>(), 0.0f);
  {
    const FlatBackward scope;
    EXPECT_TRUE(FlatBackward::is_running());
    y.backward();
  }
  EXPECT_FALSE(FlatBackward::is_running());
  EXPECT_TRUE(at::allclose(weight.grad(), taken));
}

}  // namespace
}  // namespace kiln
