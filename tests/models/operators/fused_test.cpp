#include "models/operators/fused.h"

#include "core/optimizer/flat_backward.h"
#include "models/kernels/row_chunks.h"
#include "models/mae/mae_input.h"
#include "models/operators/batch_norm.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/matmul.h"
#include "tests/support/fused_and_plain.h"

namespace kiln {
namespace {

struct Case {
  at::ScalarType type;
  std::int64_t B, L, D;
};
// Odd numbers of everything: the ends of loops.
const std::vector<Case> kCases = {{at::kFloat, 1, 1, 4},
                                  {at::kFloat, 3, 37, 24},
                                  {at::kFloat, 2, 65, 52},
                                  {at::kBFloat16, 3, 37, 24}};

/// The cases with an odd width of the result and with one that a GPU's library likes.
std::vector<std::pair<Case, std::int64_t>> of_every_width(std::int64_t odd) {
  std::vector<std::pair<Case, std::int64_t>> all;
  for (const Case& c : kCases) {
    all.emplace_back(c, odd);
    all.emplace_back(c, 32);
  }
  return all;
}

TEST(Fused, LinearIsThePlainOne) {
  for (const auto& [c, out] : of_every_width(17)) {
    const Tensors inputs = {normal({c.B, c.L, c.D}, 1, c.type), normal({out, c.D}, 2, c.type),
                            normal({out}, 3, c.type)};
    for (const at::Device device : devices()) {
      expect_same_on(
          device, inputs, [](const Tensors& x) { return Tensors{fused_linear(x[0], x[1], x[2])}; },
          [](const Tensors& x) { return Tensors{at::linear(x[0], x[1], x[2])}; },
          tolerance_of(c.type));
    }
  }
}

// Whichever type a processor multiplies bf16 in.
TEST(Fused, ProductsOfBf16AreThoseOfFp32Rounded) {
  const at::Tensor a = at::randn({37, 65}, at::kBFloat16), b = at::randn({24, 65}, at::kBFloat16);
  const at::Tensor bias = at::randn({24}, at::kBFloat16);
  const at::Tensor product = at::mm(a.to(at::kFloat), b.to(at::kFloat).t());
  const auto expect_near = [](const at::Tensor& got, const at::Tensor& expected) {
    EXPECT_EQ(got.scalar_type(), at::kBFloat16);
    EXPECT_LE((got.to(at::kFloat) - expected).abs().max().item<double>(),
              0x1p-8 * expected.abs().max().item<double>());
  };
  expect_near(matrix_product(a, b.t()), product);
  expect_near(linear_product(a, b, bias), product + bias);
  expect_near(linear_product(a, b, {}), product);
  at::Tensor into = at::ones({37, 24}, at::kBFloat16);
  multiply_into(into, a, b.t(), /*is_added=*/true);
  expect_near(into, product + 1);
  multiply_into(into, a, b.t(), /*is_added=*/false);
  expect_near(into, product);
}

TEST(Fused, MlpIsThePlainOne) {
  for (const auto& [c, hidden] : of_every_width(19)) {
    for (const bool is_tanh : {false, true}) {
      const Tensors inputs = {normal({c.B, c.L, c.D}, 1, c.type), normal({hidden, c.D}, 2, c.type),
                              normal({hidden}, 3, c.type), normal({c.D, hidden}, 4, c.type)};
      for (const at::Device device : devices()) {
        expect_same_on(
            device, inputs,
            [&](const Tensors& x) {
              return Tensors{fused_mlp(x[0], {x[1], x[2], x[3]}, is_tanh)};
            },
            [&](const Tensors& x) {
              return Tensors{plain_mlp(x[0], {x[1], x[2], x[3]}, is_tanh)};
            },
            tolerance_of(c.type));
      }
    }
  }
}

void expect_same_attention(const Case& c, std::int64_t heads, const at::Tensor& mask, double p) {
  const DropoutStream stream(7, 1000);
  for (const at::Device device : devices()) {
    const at::Tensor own_mask = mask.defined() ? mask.to(device) : mask;
    expect_same_on(
        device, {normal({c.B, c.L, 3 * c.D}, 1, c.type)},
        [&](const Tensors& x) {
          DropoutStream drop = stream;
          return Tensors{fused_self_attend(x[0], heads, own_mask, p, drop)};
        },
        [&](const Tensors& x) {
          DropoutStream drop = stream;
          return Tensors{plain_self_attend(x[0], heads, own_mask, p, drop)};
        },
        tolerance_of(c.type));
  }
}

TEST(Fused, SelfAttentionIsThePlainOne) {
  for (const Case& c : kCases) expect_same_attention(c, 4, {}, 0.0);
  expect_same_attention({at::kFloat, 1, 300, 8}, 1, {}, 0.0);  // several blocks of queries
}

Tensors causal_attention(const at::Tensor& qkv, std::int64_t heads, double p, bool is_fused) {
  DropoutStream drop(7, 1000);
  const auto attend = is_fused ? fused_self_attend : plain_self_attend;
  return {attend(qkv, heads, {}, p, drop, /*is_causal=*/true)};
}

TEST(Fused, CausalAttentionIsThePlainOne) {
  std::vector<Case> cases = kCases;
  for (const std::int64_t L : {16, 48, 300}) {  // several blocks of queries, the last one short
    cases.push_back({at::kFloat, 2, L, 16});
    cases.push_back({at::kBFloat16, 2, L, 16});
  }
  for (const Case& c : cases) {
    for (const double p : {0.0, 0.3}) {
      SCOPED_TRACE(testing::Message() << c.type << " L " << c.L << " p " << p);
      for (const at::Device device : devices()) {
        if (p > 0.0 && (device.is_cuda() || c.type == at::kBFloat16)) continue;
        expect_same_on(
            device, {normal({c.B, c.L, 3 * c.D}, 1, c.type)},
            [&](const Tensors& x) { return causal_attention(x[0], 4, p, true); },
            [&](const Tensors& x) { return causal_attention(x[0], 4, p, false); },
            tolerance_of(c.type));
      }
    }
  }
}

// Changing what comes later changes no bit of what comes before, and its gradient is exactly zero.
TEST(Fused, CausalAttentionDoesNotSeeWhatComesLater) {
  constexpr std::int64_t kL = 150, kD = 16, kAt = 70;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    at::Tensor qkv = normal({1, kL, 3 * kD}, 1, type);
    at::Tensor changed = qkv.clone();
    changed.narrow(1, kAt, kL - kAt).mul_(-3.0);
    const auto first = [](const at::Tensor& x) {
      return causal_attention(x, 2, 0.0, true)[0].narrow(1, 0, kAt);
    };
    EXPECT_TRUE(at::equal(first(qkv), first(changed)));
    qkv.requires_grad_(true);
    const at::Tensor gradient = torch::autograd::grad({first(qkv).sum()}, {qkv})[0];
    EXPECT_EQ(gradient.narrow(1, kAt, kL - kAt).count_nonzero().item<std::int64_t>(), 0);
    EXPECT_GT(gradient.narrow(1, 0, kAt).count_nonzero().item<std::int64_t>(), 0);
  }
}

// Within bf16's rounding of weights and results, far closer than the plain one in bf16 is.
TEST(Fused, SelfAttentionInBf16FollowsFp32) {
  const DropoutStream stream(7, 1000);
  for (const std::int64_t L :
       {1, 5, 37, 64, 301}) {  // odd; one tile, several; two blocks of queries
    for (const double p : {0.0, 0.25}) {
      const auto call = [&](const Tensors& x) {
        DropoutStream drop = stream;
        return Tensors{fused_self_attend(x[0], 2, {}, p, drop)};
      };
      const at::Tensor qkv = normal({2, L, 3 * 24}, 1, at::kBFloat16);
      const Tensors got = outputs_and_gradients({qkv}, call);
      const Tensors expected = outputs_and_gradients({qkv.to(at::kFloat)}, call);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const at::Tensor error = (got[i].to(at::kFloat) - expected[i]).abs().max();
        const at::Tensor largest = expected[i].abs().max();
        EXPECT_LE(error.item<float>(), 1e-2f * largest.item<float>())
            << (i == 0 ? "output" : "gradient") << ", L " << L << ", dropout " << p;
      }
    }
  }
}

TEST(Fused, SelfAttentionDrawsTheSameDropout) {
  for (const Case& c : kCases) expect_same_attention(c, 2, {}, 0.25);
}

TEST(Fused, SelfAttentionHeedsMasks) {
  const std::int64_t B = 3, L = 37;
  at::Tensor document = at::zeros({B, L}, at::kLong);
  document.narrow(1, 20, 10).fill_(1);
  document.narrow(1, 30, 7).fill_(-1);
  const at::Tensor mask = document.unsqueeze(2).eq(document.unsqueeze(1)).unsqueeze(1);
  expect_same_attention({at::kFloat, B, L, 24}, 2, mask, 0.0);
  expect_same_attention({at::kBFloat16, B, L, 24}, 2, mask, 0.1);
  expect_same_attention({at::kFloat, B, L, 24}, 2, document.ge(0).view({B, 1, 1, L}), 0.0);
}

struct NormCase {
  bool has_y, has_bias, has_gate, has_norm, is_by_sample;
  double dropout;
};

TEST(Fused, ChunksCoverEveryRowOnceAndNeverCrossGroups) {
  for (const std::int64_t rows : {1, 31, 32, 33, 197}) {
    for (const std::int64_t groups : {1, 3, 8}) {
      const RowChunks chunks{rows, groups};
      std::int64_t next = 0;
      for (std::int64_t chunk = 0; chunk < chunks.count(); ++chunk) {
        EXPECT_EQ(chunks.begin(chunk), next);
        next = chunks.end(chunk);
        EXPECT_LE(next - chunks.begin(chunk), RowChunks::kRows);
        EXPECT_EQ(chunks.begin(chunk) / rows, (next - 1) / rows);
        EXPECT_EQ(chunks.begin(chunk) / rows, chunks.group_of(chunk));
      }
      EXPECT_EQ(next, rows * groups);
    }
  }
}

TEST(Fused, ResidualNormIsThePlainOne) {
  const std::vector<NormCase> norms = {
      {false, false, false, true, false, 0.0}, {true, true, false, true, false, 0.0},
      {true, true, false, false, false, 0.1},  {true, true, false, true, false, 0.1},
      {true, true, true, true, true, 0.0},     {true, false, true, false, false, 0.0},
      {false, false, false, true, true, 0.0}};
  for (const Case& c : kCases) {
    for (const NormCase& norm : norms) {
      SCOPED_TRACE(testing::Message() << c.B << " " << c.L << " " << c.D << " dropout "
                                      << norm.dropout << " by sample " << norm.is_by_sample);
      // Modulation as a network makes it: parts of one matrix.
      const at::Tensor all = normal({c.B, 1, 3 * c.D}, 9, c.type);
      const auto shape = norm.is_by_sample ? std::vector<std::int64_t>{c.B, 1, c.D}
                                           : std::vector<std::int64_t>{c.D};
      const auto maybe = [&](bool is_there, at::IntArrayRef sizes, std::int64_t number) {
        return is_there ? normal(sizes, number, c.type) : at::Tensor();
      };
      const Tensors inputs = {
          normal({c.B, c.L, c.D}, 1, c.type), maybe(norm.has_y, {c.B, c.L, c.D}, 2),
          maybe(norm.has_bias, {c.D}, 3),     maybe(norm.has_norm, shape, 4),
          maybe(norm.has_norm, shape, 5),     all};
      const DropoutStream stream(7, 1000);
      const auto call = [&](auto function, const Tensors& x) {
        DropoutStream drop = stream;
        ResidualNormInput in{.x = x[0], .y = x[1], .bias = x[2], .gamma = x[3], .beta = x[4]};
        if (norm.has_gate) in.gate = x[5].chunk(3, -1)[1];
        in.gamma_offset = norm.is_by_sample ? 1.0 : 0.0;
        in.dropout = norm.dropout;
        in.has_norm = norm.has_norm;
        const ResidualNormOutput out = function(in, drop);
        Tensors results;
        if (norm.has_y) results.push_back(out.h);
        if (norm.has_norm) results.push_back(out.n);
        results.push_back(x[5] * 1.0);  // so that every leaf has a gradient
        return results;
      };
      for (const at::Device device : devices()) {
        expect_same_on(
            device, inputs, [&](const Tensors& x) { return call(fused_residual_norm, x); },
            [&](const Tensors& x) { return call(plain_residual_norm, x); },
            c.L * c.D < 16 ? 1e-3 : tolerance_of(c.type));
      }
    }
  }
}

TEST(Fused, EmbeddingAndCrossEntropyAreThePlainOnes) {
  const at::Tensor ids = at::tensor({4, 0, 4, 16, 3, 4}, at::kLong);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    expect_same(
        {normal({17, 5}, 1, type)},
        [&](const Tensors& x) {
          return Tensors{fused_embedding(x[0], ids.view({2, 3}))};
        },
        [&](const Tensors& x) {
          return Tensors{at::embedding(x[0], ids.view({2, 3}))};
        },
        tolerance_of(type));
    const at::Tensor scores = normal({6, 37}, 2, type);
    for (const at::Device device : devices()) {
      const at::Tensor labels = ids.to(device), there = scores.to(device);
      expect_same(
          {there}, [&](const Tensors& x) { return Tensors{fused_cross_entropy(x[0], labels).sum}; },
          [&](const Tensors& x) { return Tensors{plain_cross_entropy(x[0], labels).sum}; },
          tolerance_of(type));
      EXPECT_EQ(fused_cross_entropy(there, labels).hits.item<std::int64_t>(),
                plain_cross_entropy(there, labels).hits.item<std::int64_t>());
    }
  }
}

TEST(Fused, MaskedInputIsThePlainOne) {
  MaeShape shape;
  shape.encoder.height = 12;
  shape.encoder.width = 20;
  shape.encoder.channels = 3;
  shape.encoder.patch = 4;
  const PixelNormalisation pixels({0.4, 0.5, 0.6}, {0.2, 0.3, 0.25});
  const at::Tensor images = (normal({2, 12, 20, 3}, 1) * 60 + 120).clamp(0, 255).to(at::kByte);
  const at::Tensor ids = normal({2, 15}, 2).argsort(std::int64_t{1});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool is_normalised : {false, true}) {
      shape.has_normalised_targets = is_normalised;
      for (const at::Device device : devices()) {
        const auto got = mae_input(images.to(device), ids.to(device), shape, pixels, type);
        const auto expected =
            plain_mae_input(images.to(device), ids.to(device), shape, pixels, type);
        const auto error = [](const at::Tensor& a, const at::Tensor& b) {
          return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
        };
        EXPECT_LE(error(got.visible, expected.visible), type == at::kFloat ? 1e-5 : 2e-2);
        EXPECT_LE(error(got.target, expected.target), 1e-5);
      }
    }
  }
}

// Shapes of which each of three threads has its part. Matrix products are LibTorch's, and do
// depend.
TEST(Fused, ResultsDoNotDependOnThreads) {
  const int before = at::get_num_threads();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto results = [&](int threads) {
      at::set_num_threads(threads);
      const Tensors inputs = {normal({3, 50, 24}, 1, type), normal({24}, 2, type),
                              normal({24}, 3, type),        normal({24}, 4, type),
                              normal({3, 50, 72}, 5, type), normal({2, 24, 5, 7}, 9, type),
                              normal({500, 199}, 10, type)};
      return outputs_and_gradients(inputs, [](const Tensors& in) {
        DropoutStream drop(1, 2);
        const auto norm = fused_residual_norm(
            {.x = in[0], .y = in[0], .bias = in[1], .gamma = in[2], .beta = in[3], .dropout = 0.1},
            drop);
        const GroupNormInput maps = {
            .x = in[5], .gamma = in[2], .beta = in[3], .groups = 6, .has_silu = true};
        const at::Tensor labels = at::arange(500).remainder(199);
        return Tensors{norm.h,
                       norm.n,
                       fused_self_attend(in[4], 2, {}, 0.1, drop),
                       fused_group_norm(maps),
                       fused_batch_norm({.x = in[5], .gamma = in[2], .beta = in[3]}).y,
                       fused_cross_entropy(in[6], labels).sum,
                       drop.dropout(in[6], 0.5)};
      });
    };
    const Tensors one = results(1);
    for (const int threads : {2, 3}) {
      const Tensors more = results(threads);
      for (std::size_t i = 0; i < one.size(); ++i) {
        EXPECT_TRUE(at::equal(one[i], more[i])) << type << ", tensor " << i << ", " << threads;
      }
    }
  }
  at::set_num_threads(before);
}

class CountingHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit CountingHook(int& calls) : calls_(calls) {}
  void operator()(const at::Tensor&) override { ++calls_; }

 private:
  int& calls_;
};

// In training gradients are added where they lie, and the exchange is told once.
TEST(Fused, GradientsGoStraightHomeAndTellTheHook) {
  const at::Tensor x = normal({5, 8}, 1);
  const at::Tensor plain = normal({6, 8}, 2).requires_grad_();
  at::linear(x, plain).sum().backward();

  at::Tensor trained = normal({6, 8}, 2).requires_grad_();
  trained.mutable_grad() = at::ones({6, 8});
  const void* home = trained.grad().data_ptr();
  int calls = 0;
  torch::autograd::impl::set_post_acc_grad_hooks(trained, std::make_unique<CountingHook>(calls));
  {
    const FlatBackward scope;
    fused_linear(x, trained, {}).sum().backward();
  }
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(trained.grad().data_ptr(), home);
  EXPECT_LE((trained.grad() - plain.grad() - 1.0).abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace kiln
