// Kernels over rows and elements.

#include "tests/support/device_kernels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/kernels/device/device_loops.h"
#include "models/kernels/device/device_patches.h"
#include "models/kernels/device/device_residual_norm.h"
#include "models/kernels/device/device_softmax.h"
#include "models/kernels/host_softmax.h"
#include "models/kernels/row_chunks.h"
#include "models/kernels/running.h"
#include "models/layers/image_input.h"
#include "models/mae/mae.h"

namespace kiln {
namespace {

template <typename T>
class DeviceKernels : public KernelTest<T> {};
TYPED_TEST_SUITE(DeviceKernels, KernelTypes);

TYPED_TEST(DeviceKernels, Gelu) {
  using T = TypeParam;
  constexpr std::int64_t kRows = 7;
  for (const std::int64_t cols : {53, 56}) {  // one by one, and in packs
    const std::int64_t count = kRows * cols;
    const auto bias = random<T>(cols, 1);
    for (const bool is_tanh : {false, true}) {
      auto u = random<T>(count, 2), expected_u = u, a = u, expected_a = u;
      device_bias_gelu(u.data(), bias.data(), a.data(), kRows, cols, is_tanh, nullptr);
      bias_gelu(expected_u.data(), bias.data(), expected_a.data(), kRows, cols, is_tanh);
      EXPECT_EQ(u, expected_u);
      EXPECT_EQ(a, expected_a);

      auto d = random<T>(count, 3), expected_d = d;
      device_gelu_backward(u.data(), d.data(), a.data(), count, is_tanh, nullptr);
      gelu_backward(u.data(), expected_d.data(), expected_a.data(), count, is_tanh);
      EXPECT_EQ(d, expected_d);
      EXPECT_EQ(a, expected_a);
    }
  }
}

TYPED_TEST(DeviceKernels, KeepFactorsAreThoseOfTheSite) {
  using T = TypeParam;
  const DropoutSite site{Philox(1, Purpose::kDropout, 9), 17, 0.25f, 1.0f / 0.75f};
  for (const std::int64_t count : {1, 4, 1031}) {
    std::vector<float> factors(static_cast<std::size_t>(count));
    site.fill(0, count, factors.data());
    std::vector<T> got(factors.size()), expected(factors.size());
    for (std::size_t i = 0; i < factors.size(); ++i) store(expected[i], factors[i]);
    device_keep_factors(site, got.data(), count, nullptr);
    EXPECT_EQ(got, expected);
  }
}

/// A residual norm with all its parts, and what it writes.
template <typename T>
struct NormCase {
  std::int64_t groups, rows_per_group, cols, rows = groups * rows_per_group;
  std::vector<T> x = random<T>(rows * cols, 1), y = random<T>(rows * cols, 2);
  std::vector<T> bias = random<T>(cols, 3), gate = random<T>(groups * cols, 4);
  std::vector<T> gamma = random<T>(groups * cols, 5), beta = random<T>(groups * cols, 6);
  std::vector<T> h = x, n = x, dx = x, dy = x;
  std::vector<float> mean = std::vector<float>(static_cast<std::size_t>(rows)), rstd = mean;
  DropoutSite site{Philox(1, Purpose::kDropout, 9), 17, 0.25f, 1.0f / 0.75f};

  ResidualNorm<T> work() {
    return {.cols = cols,
            .rows_per_group = rows_per_group,
            .x = x.data(),
            .y = y.data(),
            .bias = bias.data(),
            .gate = gate.data(),
            .gate_stride = cols,
            .keep = &site,
            .gamma = gamma.data(),
            .beta = beta.data(),
            .affine_stride = cols,
            .gamma_offset = 1.0f,
            .eps = 1e-6f,
            .h = h.data(),
            .n = n.data(),
            .mean = mean.data(),
            .rstd = rstd.data()};
  }
};

TYPED_TEST(DeviceKernels, ResidualNorm) {
  using T = TypeParam;
  struct Shape {
    std::int64_t groups, rows_per_group, cols;
  };
  // One by one; in packs, several rows at once; in packs, one row at once.
  for (const auto [groups, per_group, cols] :
       {Shape{2, 3, 131}, Shape{1, 33, 5}, Shape{2, 7, 136}, Shape{1, 38, 8}, Shape{1, 3, 2056}}) {
    NormCase<T> host{groups, per_group, cols}, device{groups, per_group, cols};
    const auto host_work = host.work(), device_work = device.work();
    residual_norm(host_work, 0, host.rows);
    device_residual_norm<T>(device_work, device.site, device.rows, nullptr);
    expect_near(device.h, host.h, 0.0);
    expect_near(device.n, host.n, this->kTolerance * 5);

    const RowChunks chunks{per_group, groups};
    const auto dn = random<T>(host.rows * cols, 7), dh = random<T>(host.rows * cols, 8);
    // The host adds to its sums, chunk by chunk here as well; the device writes them.
    const auto size = static_cast<std::size_t>(chunks.count() * cols);
    std::vector<float> sums[2][4];
    for (auto& side : sums) std::fill_n(side, 4, std::vector<float>(size));
    for (std::int64_t chunk = 0; chunk < chunks.count(); ++chunk) {
      float* at[4];
      for (int k = 0; k < 4; ++k) at[k] = sums[0][k].data() + chunk * cols;
      residual_norm_backward(host_work, dn.data(), dh.data(), host.dx.data(), host.dy.data(),
                             {at[0], at[1], at[2], at[3]}, chunks.begin(chunk), chunks.end(chunk));
    }
    device_residual_norm_backward<T>(
        device_work, device.site, dn.data(), dh.data(), device.dx.data(), device.dy.data(),
        {sums[1][0].data(), sums[1][1].data(), sums[1][2].data(), sums[1][3].data()}, groups,
        nullptr);
    expect_near(device.dx, host.dx, this->kTolerance * 10);
    expect_near(device.dy, host.dy, this->kTolerance * 10);
    for (int k = 0; k < 4; ++k) expect_near(sums[1][k], sums[0][k], 1e-5);
  }
}

TYPED_TEST(DeviceKernels, CrossEntropy) {
  using T = TypeParam;
  for (const std::int64_t cols : {3, 256, 1037}) {
    constexpr std::int64_t kRows = 5;
    auto x = random<T>(kRows * cols, 1, 3.0f);
    x[1] = x[2] = x[0];  // of equals the first counts
    std::vector<std::int64_t> labels, best(kRows), expected_best;
    std::vector<float> lse(kRows), losses(kRows), expected_lse, expected_losses;
    std::vector<T> d(x.size()), expected_d(x.size());
    const float factor = 0.37f;
    for (std::int64_t row = 0; row < kRows; ++row) {
      const T* at = x.data() + row * cols;
      labels.push_back(row * 7 % cols);
      const RowPeak peak = log_sum_exp(at, cols);
      expected_lse.push_back(peak.log_sum);
      expected_best.push_back(peak.index);
      expected_losses.push_back(peak.log_sum - load(at[labels.back()]));
      softmax_gradient(at, expected_d.data() + row * cols, cols, peak.log_sum, factor,
                       labels.back());
    }
    device_cross_entropy(x.data(), labels.data(), kRows, cols, lse.data(), losses.data(),
                         best.data(), nullptr);
    device_cross_entropy_backward(x.data(), labels.data(), lse.data(), &factor, d.data(), kRows,
                                  cols, nullptr);
    EXPECT_EQ(best, expected_best);
    expect_near(lse, expected_lse, 1e-6);
    expect_near(losses, expected_losses, 1e-6);
    expect_near(d, expected_d, this->kTolerance);
  }
}

TYPED_TEST(DeviceKernels, MaskedPatches) {
  using T = TypeParam;
  constexpr std::int64_t B = 2, H = 12, W = 20, C = 3, P = 4, L = 15, V = 4;
  at::Tensor images = at::empty({B, H, W, C}, at::kByte);
  for (std::int64_t i = 0; i < images.numel(); ++i) {
    images.data_ptr<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * i % 251);
  }
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < B * L; ++i) ids.push_back((i * 4 + i / L) % L);  // a permutation
  const std::vector<double> mean = {0.4, 0.5, 0.6}, std = {0.2, 0.3, 0.25};
  for (const bool is_normalised : {false, true}) {
    const auto values = static_cast<std::size_t>(P * P * C);
    std::vector<T> visible(B * V * values);
    std::vector<float> target(B * (L - V) * values);
    MaskedPatches<T> work;
    work.grid = {W, C, P};
    work.image_values = H * W * C;
    work.patches = L;
    work.num_visible = V;
    for (std::size_t c = 0; c < 3; ++c) {
      work.scale[c] = static_cast<float>(1.0 / (255.0 * std[c]));
      work.shift[c] = static_cast<float>(-mean[c] / std[c]);
    }
    work.has_normalised_targets = is_normalised;
    work.images = images.const_data_ptr<std::uint8_t>();
    work.ids = ids.data();
    work.visible = visible.data();
    work.target = target.data();
    device_masked_patches(work, B, nullptr);

    const at::Tensor patches = PixelNormalisation(mean, std).normalise(patchify(images, P));
    const at::Tensor targets = mae_target(patches, is_normalised).contiguous();
    std::vector<T> expected_visible;
    std::vector<float> expected_target;
    for (std::int64_t i = 0; i < B * L; ++i) {
      const at::Tensor& from = i % L < V ? patches : targets;
      const float* at =
          from.const_data_ptr<float>() + (i / L * L + ids[static_cast<std::size_t>(i)]) * P * P * C;
      for (std::size_t v = 0; v < values; ++v) {
        if (i % L < V) {
          store(expected_visible.emplace_back(), at[v]);
        } else {
          expected_target.push_back(at[v]);
        }
      }
    }
    expect_near(visible, expected_visible, this->kTolerance);
    expect_near(target, expected_target, 1e-5);
  }
}

TEST(Running, MergingSharesIsAddingAll) {
  const auto values = random<float>(101, 1, 5.0f);
  Moments all, shares[3];
  Peak peak, peaks[3];
  double sum = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = values[i] + 100.0f;
    sum += value;
    all.add(value);
    shares[i * 7 % 3].add(value);
    peak.add(values[i], static_cast<std::int64_t>(i));
    peaks[i * 7 % 3].add(values[i], static_cast<std::int64_t>(i));
  }
  const double mean = sum / 101.0;
  for (const float value : values) squares += std::pow(value + 100.0f - mean, 2.0);
  Moments merged;  // of nothing
  Peak highest;
  for (int k = 2; k >= 0; --k) {
    merged.merge(shares[k]);
    merged.merge(Moments());
    highest.merge(peaks[k]);
    highest.merge(Peak());
  }
  EXPECT_EQ(merged.count, 101.0f);
  for (const Moments& m : {all, merged}) {
    EXPECT_NEAR(m.mean, mean, 1e-4);
    EXPECT_NEAR(m.squares / squares, 1.0, 1e-4);
  }
  EXPECT_EQ(highest.index, peak.index);
  EXPECT_EQ(highest.highest, peak.highest);
  EXPECT_NEAR(highest.sum, peak.sum, 1e-5 * peak.sum);
}

}  // namespace
}  // namespace kiln
