#include "data/views/view_draw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace kiln {
namespace {

constexpr int kDraws = 20000;

struct Moments {
  double sum = 0.0, squares = 0.0;
  int count = 0;
  void add(double value) {
    sum += value;
    squares += value * value;
    ++count;
  }
  double mean() const { return sum / count; }
  double variance() const { return squares / count - mean() * mean(); }
};

// Within 4.5 standard deviations of a uniform's mean, and its variance within 5 %.
void expect_uniform(const Moments& found, double low, double high) {
  const double deviation = (high - low) / std::sqrt(12.0);
  EXPECT_NEAR(found.mean(), (low + high) / 2.0, 4.5 * deviation / std::sqrt(found.count));
  EXPECT_NEAR(found.variance(), deviation * deviation, 0.05 * deviation * deviation);
}

void expect_share(int count, double probability) {
  const double deviation = std::sqrt(probability * (1.0 - probability) * kDraws);
  EXPECT_NEAR(count, probability * kDraws, 4.5 * deviation + 1e-9);
}

ViewOptions strong() {
  ViewOptions options;
  options.size = 64;
  options.flip = 0.5;
  options.jitter = {0.8, 0.4, 1.2, 0.2};
  options.jitter_p = 0.8;
  options.grey = 0.2;
  options.blur = 0.3;
  options.solarise = 0.1;
  return options;
}

TEST(ViewDraw, ProbabilitiesAreThoseOfTheOptions) {
  const ViewOptions options = strong();
  int mirrored = 0, jittered = 0, grey = 0, blurred = 0, solarised = 0, mirrored_and_grey = 0;
  for (int i = 0; i < kDraws; ++i) {
    const ViewDraw draw = draw_view(options, 7, i, 1, 500, 375);
    mirrored += draw.is_mirrored;
    jittered += draw.is_jittered;
    grey += draw.is_grey;
    blurred += draw.blur_sigma > 0.0;
    solarised += draw.is_solarised;
    mirrored_and_grey += draw.is_mirrored && draw.is_grey;
  }
  expect_share(mirrored, 0.5);
  expect_share(jittered, 0.8);
  expect_share(grey, 0.2);
  expect_share(blurred, 0.3);
  expect_share(solarised, 0.1);
  expect_share(mirrored_and_grey, 0.1);  // they are independent
}

TEST(ViewDraw, CertaintiesAreCertain) {
  ViewOptions options = strong();
  options.flip = 1.0;
  options.grey = 0.0;
  for (int i = 0; i < 1000; ++i) {
    const ViewDraw draw = draw_view(options, 7, i, 0, 50, 50);
    EXPECT_TRUE(draw.is_mirrored);
    EXPECT_FALSE(draw.is_grey);
  }
}

TEST(ViewDraw, AmountsAreUniform) {
  Moments brightness, contrast, saturation, hue, sigma;
  for (int i = 0; i < kDraws; ++i) {
    const ViewDraw draw = draw_view(strong(), 7, i, 0, 500, 375);
    brightness.add(static_cast<double>(draw.amounts[ViewDraw::kBrightness]));
    contrast.add(static_cast<double>(draw.amounts[ViewDraw::kContrast]));
    saturation.add(static_cast<double>(draw.amounts[ViewDraw::kSaturation]));
    hue.add(static_cast<double>(draw.amounts[ViewDraw::kHue]));
    if (draw.blur_sigma > 0.0) sigma.add(draw.blur_sigma);
  }
  expect_uniform(brightness, 0.2, 1.8);
  expect_uniform(contrast, 0.6, 1.4);
  expect_uniform(saturation, 0.0, 2.2);  // factors are never negative
  expect_uniform(hue, -0.2, 0.2);
  expect_uniform(sigma, 0.1, 2.0);
}

TEST(ViewDraw, OrdersAreEquallyLikely) {
  std::map<std::array<ViewDraw::Change, 4>, int> orders;
  for (int i = 0; i < kDraws; ++i) ++orders[draw_view(strong(), 7, i, 0, 500, 375).order];
  EXPECT_EQ(orders.size(), 24u);
  double chi_squared = 0.0;
  for (const auto& [order, count] : orders) {
    const double expected = kDraws / 24.0;
    chi_squared += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_squared, 56.0);  // 23 degrees of freedom: exceeded once in 7,000
}

TEST(ViewDraw, CropsHaveAUniformShareOfTheArea) {
  ViewOptions options = strong();
  options.scale = {0.2, 0.6};
  options.ratio = {1.0, 1.0};  // then every try fits into a square
  Moments share, left;
  for (int i = 0; i < kDraws; ++i) {
    const Box box = draw_view(options, 7, i, 0, 1000, 1000).region;
    share.add(static_cast<double>(box.width * box.height) / 1e6);
    left.add(static_cast<double>(box.left) / static_cast<double>(1001 - box.width));
  }
  expect_uniform(share, 0.2, 0.6);
  expect_uniform(left, 0.0, 1.0);
}

TEST(ViewDraw, ViewsPositionsAndSeedsDifferAndNothingElseMatters) {
  const auto amounts = [](std::uint64_t seed, std::int64_t position, std::int64_t view) {
    return draw_view(strong(), seed, position, view, 500, 375).amounts;
  };
  std::set<std::array<float, 4>> all;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    for (std::int64_t position = 0; position < 50; ++position) {
      for (std::int64_t view = 0; view < 10; ++view) all.insert(amounts(seed, position, view));
    }
  }
  EXPECT_EQ(all.size(), 4u * 50u * 10u);
  EXPECT_EQ(amounts(3, 17, 2), amounts(3, 17, 2));
}

}  // namespace
}  // namespace kiln
