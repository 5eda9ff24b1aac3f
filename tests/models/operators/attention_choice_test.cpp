// The choice among implementations of attention, made with those of the host; and on a GPU each of
// the GPU's against plain products.

#include "models/operators/attention_choice.h"

#include <gtest/gtest.h>

#include <map>

#include "models/operators/host_tensors.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

struct Inputs {
  at::Tensor q, k, v, mask;
};

Inputs inputs(std::int64_t L, std::int64_t S, bool has_mask, std::int64_t d = 8) {
  const std::int64_t B = 2, H = 3;
  Inputs in{normal({B, H, L, d}, 1), normal({B, H, S, d}, 2), normal({B, H, S, d}, 3), {}};
  if (has_mask) in.mask = normal({B, 1, 1, S}, 4).clamp_max(0.0) * 10.0;
  return in;
}

/// The result and the gradients at q, k and v.
template <typename Attend>
std::vector<at::Tensor> run(const Inputs& in, const Attend& attend) {
  const auto leaf = [](const at::Tensor& x) { return x.detach().clone().requires_grad_(); };
  const at::Tensor q = leaf(in.q), k = leaf(in.k), v = leaf(in.v);
  const at::Tensor out = attend(q, k, v, in.mask);
  (out * normal(out.sizes(), 5).to(out.options())).sum().backward();
  return {out.detach(), q.grad(), k.grad(), v.grad()};
}

std::vector<at::Tensor> expected(const Inputs& in) {
  return run(in, [](const auto& q, const auto& k, const auto& v, const auto& mask) {
    at::Tensor scores = at::matmul(q, k.transpose(-2, -1)) / std::sqrt(double(q.size(-1)));
    if (mask.defined()) scores = scores + mask;
    return at::matmul(at::softmax(scores, -1), v);
  });
}

/// `tolerance` of the largest value.
void expect_near(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& right,
                 double tolerance) {
  ASSERT_EQ(got.size(), right.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const at::Tensor reference = right[i].to(at::kCPU, at::kDouble);
    const double largest = reference.abs().max().item<double>();
    const double error = (got[i].to(at::kCPU, at::kDouble) - reference).abs().max().item<double>();
    EXPECT_LE(error, tolerance * largest) << "tensor " << i;
  }
}

class Choice : public testing::Test {
 protected:
  using T = const at::Tensor&;

  void add(const std::string& name, double seconds, decltype(AttentionWay::attend) attend) {
    ways_.push_back({name, [this, name, attend](T q, T k, T v, T mask, double p, bool is_causal) {
                       last_ = name;
                       return attend(q, k, v, mask, p, is_causal);
                     }});
    seconds_[name] = seconds;
  }
  /// Carries the work out, and says of the way that did it what the test has set.
  AttentionChoice choice() {
    return AttentionChoice(ways_, [this](const std::function<void()>& work) {
      work();
      ++num_timed_[last_];
      return seconds_.at(last_);
    });
  }
  void add_products(double seconds) {
    add("products", seconds, [](T q, T k, T v, T mask, double p, bool is_causal) {
      return std::get<0>(
          at::_scaled_dot_product_attention_math(q, k, v, maybe(mask), p, is_causal));
    });
  }
  void add_flash(double seconds) {
    add("flash", seconds, [](T q, T k, T v, T mask, double, bool is_causal) {
      return std::get<0>(
          at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, is_causal, maybe(mask)));
    });
  }

  std::string last_;  // which way was carried out
  std::map<std::string, double> seconds_;
  std::map<std::string, int> num_timed_;
  std::vector<AttentionWay> ways_;
};

TEST_F(Choice, TakesTheQuickestAndTimesEachShapeOnce) {
  add_products(2.0);
  add_flash(1.0);
  AttentionChoice attention = choice();
  const auto attend = [&](T q, T k, T v, T mask) { return attention.attend(q, k, v, mask); };
  int num_shapes = 0;
  for (const bool has_mask : {false, true}) {
    for (const std::int64_t L : {5, 17}) {
      const Inputs in = inputs(L, 11, has_mask);
      ++num_shapes;
      for (int repeat = 0; repeat < 2; ++repeat) {
        expect_near(run(in, attend), expected(in), 1e-5);
        EXPECT_EQ(last_, "flash");
        EXPECT_EQ(num_timed_["flash"], num_shapes);
        EXPECT_EQ(num_timed_["products"], num_shapes);
      }
    }
  }
  // Without backward another way may be the quickest: a choice of its own.
  const at::NoGradGuard no_grad;
  const Inputs in = inputs(5, 11, false);
  EXPECT_FALSE(attention.attend(in.q, in.k, in.v, in.mask).requires_grad());
  EXPECT_EQ(num_timed_["flash"], num_shapes + 1);
}

TEST_F(Choice, PassesOverWhatThrows) {
  add("no masks", 0.5, [](T q, T k, T v, T mask, double, bool) {
    TORCH_CHECK(!mask.defined(), "takes no mask");
    return at::scaled_dot_product_attention(q, k, v);
  });
  add_products(2.0);
  AttentionChoice attention = choice();
  const auto attend = [&](T q, T k, T v, T mask) { return attention.attend(q, k, v, mask); };
  const Inputs plain = inputs(5, 5, false), masked = inputs(5, 5, true);
  expect_near(run(masked, attend), expected(masked), 1e-5);
  EXPECT_EQ(last_, "products");
  EXPECT_EQ(num_timed_["no masks"], 0);
  expect_near(run(plain, attend), expected(plain), 1e-5);
  EXPECT_EQ(last_, "no masks");
}

TEST_F(Choice, IsTheFirstUntimedWhereRunsMustBeEqual) {
  add_products(2.0);
  add_flash(1.0);
  AttentionChoice attention = choice();
  const bool was = at::globalContext().deterministicAlgorithms();
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  const Inputs in = inputs(5, 11, false);
  expect_near(run(in, [&](T q, T k, T v, T mask) { return attention.attend(q, k, v, mask); }),
              expected(in), 1e-5);
  at::globalContext().setDeterministicAlgorithms(was, false);
  EXPECT_EQ(last_, "products");
  EXPECT_TRUE(num_timed_.empty());
}

// Every way that takes a shape gives what plain products give; LibTorch's own takes all of them.
TEST(DeviceAttention, EveryWayIsThePlainOne) {
  if (!torch::cuda::is_available()) {
    GTEST_SKIP() << "no GPU: none visible, no driver, or a build without CUDA";
  }
  const at::Device gpu(at::kCUDA, 0);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool has_mask : {false, true}) {
      for (const std::int64_t d : {32, 64, 72}) {
        Inputs in = inputs(50, 50, has_mask, d), exact = in;
        for (auto x : {&Inputs::q, &Inputs::k, &Inputs::v, &Inputs::mask}) {
          if (!(in.*x).defined()) continue;
          in.*x = (in.*x).to(gpu, type);
          exact.*x = (in.*x).to(at::kCPU, at::kDouble);
        }
        const auto right = expected(exact);
        // Some of them multiply fp32 as several products of fewer digits.
        const double tolerance = type == at::kFloat ? 1e-4 : 3e-2;
        for (const AttentionWay& way : device_attention_ways()) {
          SCOPED_TRACE(testing::Message()
                       << way.name << " " << type << " mask " << has_mask << " d " << d);
          try {
            expect_near(
                run(in, [&](const auto& q, const auto& k, const auto& v,
                            const auto& mask) { return way.attend(q, k, v, mask, 0.0, false); }),
                right, tolerance);
          } catch (const c10::Error&) {
            EXPECT_NE(way.name, device_attention_ways().front().name);
          }
        }
        expect_near(
            run(in, [](const auto& q, const auto& k, const auto& v,
                       const auto& mask) { return device_attention().attend(q, k, v, mask); }),
            right, tolerance);
      }
    }
  }
}

// Rows of weights add up to 1 on average; the seed alone says which are dropped.
TEST(DeviceAttention, DropoutIsOfTheSeed) {
  if (!torch::cuda::is_available()) {
    GTEST_SKIP() << "no GPU: none visible, no driver, or a build without CUDA";
  }
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Inputs in = inputs(64, 64, false, 32);
    for (auto x : {&Inputs::q, &Inputs::k, &Inputs::v}) {
      in.*x = (in.*x).to(at::Device(at::kCUDA, 0), type);
    }
    in.v.fill_(1.0);
    const auto with_seed = [&](std::uint64_t seed) {
      return run(in, [&](const auto& q, const auto& k, const auto& v, const auto& mask) {
        return device_attention().attend(q, k, v, mask, {.p = 0.5, .seed = seed});
      });
    };
    const auto first = with_seed(7), again = with_seed(7), other = with_seed(8);
    EXPECT_NEAR(first[0].to(at::kFloat).mean().item<double>(), 1.0, 0.02);
    EXPECT_GT(first[0].to(at::kFloat).std().item<double>(), 0.05);
    EXPECT_TRUE(at::equal(first[0], again[0]));
    EXPECT_FALSE(at::equal(first[0], other[0]));
    expect_near(again, first, 1e-5);  // backward may add up in any order
  }
}

}  // namespace
}  // namespace kiln
