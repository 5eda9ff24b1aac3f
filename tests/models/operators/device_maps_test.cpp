// Kernels over feature maps and rows of parts.

#include "models/kernels/device/device_maps.h"

#include <array>

#include "models/kernels/device/device_group_norm.h"
#include "tests/support/device_kernels.h"

namespace kiln {
namespace {

template <typename T>
class DeviceMaps : public KernelTest<T> {};
TYPED_TEST_SUITE(DeviceMaps, KernelTypes);

TYPED_TEST(DeviceMaps, JoinsRows) {
  using T = TypeParam;
  constexpr std::int64_t kRows = 11;
  for (const std::int64_t cols : {5, 24}) {
    const std::vector<T> parts[] = {random<T>(kRows * cols, 1), random<T>(kRows * cols, 2),
                                    random<T>(kRows * cols, 3)};
    std::vector<T> got(static_cast<std::size_t>(kRows * 3 * cols)), expected;
    for (std::int64_t row = 0; row < kRows; ++row) {
      for (const auto& part : parts) {
        expected.insert(expected.end(), part.begin() + row * cols, part.begin() + (row + 1) * cols);
      }
    }
    T* to = got.data();
    for (const auto& part : parts) {
      device_copy_columns(part.data(), cols, to, 3 * cols, kRows, cols, nullptr);
      to += cols;
    }
    EXPECT_EQ(got, expected);
  }
}

/// `skipped` elements before the maps: memory that packs cannot be loaded from.
template <typename T>
struct GroupNormCase {
  static constexpr std::int64_t B = 3;
  std::int64_t P, C, G, skipped = 0, size = B * P * C + skipped;
  std::vector<T> x = random<T>(size, 1), shift = random<T>(B * C, 2), gamma = random<T>(C, 3);
  std::vector<T> beta = random<T>(C, 4), dy = random<T>(size, 5), y = x, dx = x;
  std::vector<float> mean = std::vector<float>(static_cast<std::size_t>(B * G)), rstd = mean;
  std::vector<float> dgamma = std::vector<float>(static_cast<std::size_t>(B * C));
  std::vector<float> dbeta = dgamma, dshift = dgamma;

  GroupNormMaps<T> maps(bool has_silu, bool has_shift) {
    return {.pixels = P,
            .channels = C,
            .groups = G,
            .x = x.data() + skipped,
            .shift = has_shift ? shift.data() : nullptr,
            .gamma = gamma.data(),
            .beta = beta.data(),
            .eps = 1e-5f,
            .has_silu = has_silu,
            .y = y.data() + skipped,
            .mean = mean.data(),
            .rstd = rstd.data()};
  }
};

/// The kernels' results beside those of the host's loops.
template <typename T>
void expect_same_group_norm(GroupNormCase<T> host, bool has_silu, bool has_shift,
                            double tolerance) {
  GroupNormCase<T> device = host;
  const auto host_maps = host.maps(has_silu, has_shift);
  const auto device_maps = device.maps(has_silu, has_shift);
  const auto first = [](std::vector<T>& values, const GroupNormCase<T>& of) {
    return values.data() + of.skipped;
  };
  for (std::int64_t b = 0; b < host.B; ++b) {
    group_norm_forward(host_maps, b, 0, host.G);
    group_norm_backward(host_maps, first(host.dy, host), first(host.dx, host), host.dgamma.data(),
                        host.dbeta.data(), has_shift ? host.dshift.data() : nullptr, b, 0, host.G);
  }
  std::vector<float> scratch(
      static_cast<std::size_t>(device_group_norm_scratch(host.B, host.P, host.C, host.G)));
  device_group_norm(device_maps, host.B, scratch.data(), nullptr);
  device_group_norm_backward<T>(device_maps, first(device.dy, device), first(device.dx, device),
                                device.dgamma.data(), device.dbeta.data(),
                                has_shift ? device.dshift.data() : nullptr, host.B, scratch.data(),
                                nullptr);
  expect_near(device.mean, host.mean, 1e-5);
  expect_near(device.rstd, host.rstd, 1e-5);
  expect_near(device.y, host.y, tolerance * 2);
  // The host keeps part of the gradient in T meanwhile.
  expect_near(device.dx, host.dx, tolerance * 20);
  expect_near(device.dgamma, host.dgamma, 1e-5);
  expect_near(device.dbeta, host.dbeta, 1e-5);
  // Sums that cancel: of the order of one value's rounding.
  if (has_shift && host.P > 1) expect_near(device.dshift, host.dshift, tolerance * 50);
}

TYPED_TEST(DeviceMaps, GroupNorm) {
  using T = TypeParam;
  for (const bool has_silu : {false, true}) {
    for (const bool has_shift : {false, true}) {
      const auto expect = [&](GroupNormCase<T> maps) {
        expect_same_group_norm(std::move(maps), has_silu, has_shift, this->kTolerance);
      };
      expect({1, 24, 6});
      expect({67, 24, 6});  // groups narrower than a pack
    }
  }
}

TYPED_TEST(DeviceMaps, GroupNormOfAnyWidthAndAlignment) {
  using T = TypeParam;
  const auto expect = [&](GroupNormCase<T> maps) {
    expect_same_group_norm(std::move(maps), true, true, this->kTolerance);
  };
  expect({67, 9, 3});
  expect({67, 24, 6, 1});
  expect({700, 40, 2});  // chunks of several rows a thread
  expect({3, 2056, 2});  // more packs than threads, and groups wider than a block
  expect({3, 515, 1});
}

TYPED_TEST(DeviceMaps, ConvWeightsChangeTheirLayout) {
  using T = TypeParam;
  // More inputs than a block has threads; memory that packs can and cannot be loaded from.
  for (const auto& [shape, skipped] : {std::pair<ConvWeightShape, std::size_t>{{3, 272, 9}, 0},
                                       {{2, 272, 9}, 1},
                                       {{2, 5, 16}, 0}}) {
    const std::int64_t count = shape.out * shape.in * shape.taps;
    const auto plain = random<T>(count + 1, 1);
    auto last = plain, expected = plain;
    for (std::int64_t o = 0; o < shape.out; ++o) {
      for (std::int64_t i = 0; i < shape.in; ++i) {
        for (std::int64_t tap = 0; tap < shape.taps; ++tap) {
          expected[static_cast<std::size_t>((o * shape.taps + tap) * shape.in + i) + skipped] =
              plain[static_cast<std::size_t>((o * shape.in + i) * shape.taps + tap) + skipped];
        }
      }
    }
    device_weights_to_channels_last(shape, plain.data() + skipped, last.data() + skipped, nullptr);
    EXPECT_EQ(last, expected);
    auto back = plain;
    for (std::size_t i = skipped; i < back.size(); ++i) back[i] = 0;
    const T* from = last.data() + skipped;
    device_weights_from_channels_last<T>(shape, from, back.data() + skipped, false, nullptr);
    back.back() = plain.back();
    if (skipped == 0) EXPECT_EQ(back, plain);
    device_weights_from_channels_last<T>(shape, from, back.data() + skipped, true, nullptr);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      ASSERT_EQ(load(back[i + skipped]), 2.0f * load(plain[i + skipped])) << i;
    }
  }
}

TYPED_TEST(DeviceMaps, CopiesColumns) {
  using T = TypeParam;
  for (const auto& [rows, cols, to_stride, begin] :
       {std::array<std::int64_t, 4>{37, 40, 64, 16}, {37, 40, 64, 3}, {500, 3, 5, 2}}) {
    const auto from = random<T>(rows * cols, 1);
    auto to = random<T>(rows * to_stride, 2), expected = to;
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      expected[static_cast<std::size_t>(i / cols * to_stride + i % cols + begin)] =
          from[static_cast<std::size_t>(i)];
    }
    device_copy_columns(from.data(), cols, to.data() + begin, to_stride, rows, cols, nullptr);
    EXPECT_EQ(to, expected);
    auto back = random<T>(rows * cols, 3);
    device_copy_columns<T>(to.data() + begin, to_stride, back.data(), cols, rows, cols, nullptr);
    EXPECT_EQ(back, from);
  }
}

TYPED_TEST(DeviceMaps, BiasedSumAndColumnSums) {
  using T = TypeParam;
  for (const std::int64_t cols : {40, 9}) {
    constexpr std::int64_t kRows = 333;
    const auto a = random<T>(kRows * cols, 1), b = random<T>(kRows * cols, 2);
    const auto bias = random<T>(cols, 3);
    auto sum = a, expected = a;
    std::vector<double> expected_totals(static_cast<std::size_t>(cols));
    for (std::size_t i = 0; i < a.size(); ++i) {
      const std::size_t c = i % expected_totals.size();
      store(expected[i], load(a[i]) + (load(b[i]) + load(bias[c])));
      expected_totals[c] += load(a[i]);
    }
    device_biased_sum(a.data(), b.data(), bias.data(), sum.data(), kRows, cols, nullptr);
    EXPECT_EQ(sum, expected);
    const std::int64_t chunks = device_column_chunks(kRows, cols);
    std::vector<float> sums(static_cast<std::size_t>(chunks * cols));
    device_column_sums(a.data(), sums.data(), kRows, cols, nullptr);
    for (std::size_t c = 0; c < expected_totals.size(); ++c) {
      double total = 0.0;
      for (std::size_t at = c; at < sums.size(); at += expected_totals.size()) total += sums[at];
      EXPECT_NEAR(total, expected_totals[c], 1e-4);
    }
  }
}

}  // namespace
}  // namespace kiln
