#include "data/views/augment.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/images/resize.h"
#include "data/views/blur.h"
#include "data/views/colour.h"
#include "tests/data/patterns.h"

// The hashes (xxh3-128 of the pixels) are those of Pillow 13.0.0's results on the same pictures.

namespace kiln {
namespace {

std::string hash_of(const std::vector<std::uint8_t>& bytes) {
  return hash_bytes(bytes.data(), bytes.size()).hex();
}

/// Each of the 2^24 colours once.
const std::vector<std::uint8_t>& all_colours() {
  static const std::vector<std::uint8_t> colours = [] {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(3u << 24);
    for (std::uint32_t i = 0; i < 1u << 24; ++i) {
      for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(i >> shift));
    }
    return bytes;
  }();
  return colours;
}

template <typename Change>
std::string changed(const Change& change) {
  std::vector<std::uint8_t> colours = all_colours();
  change(Pixels{colours.data(), 1 << 24, 3});
  return hash_of(colours);
}

Pixels pixels_of(Image& image) {
  return {image.pixels.data(), image.width * image.height, image.channels};
}

TEST(Colour, HueOfEveryColourEqualsPillow) {
  const auto turned = [](float turns) {
    return changed([&](const Pixels& pixels) { adjust_hue(pixels, turns); });
  };
  EXPECT_EQ(turned(-0.5f), "d6755bb9e1b99787e3a77b41cc3a0743");
  EXPECT_EQ(turned(-0.2f), "8ebea4104c125561977a1401f5bbe421");
  EXPECT_EQ(turned(0.0f), "ad2794f68571dd82560fcf6a9c16f435");
  EXPECT_EQ(turned(0.1f), "54a4b273107efa9cae1cc459f7078ad5");
}

TEST(Colour, SaturationOfEveryColourEqualsPillow) {
  const auto blended = [](float factor) {
    return changed([&](const Pixels& pixels) { adjust_saturation(pixels, factor); });
  };
  EXPECT_EQ(blended(0.0f), "1762b52f50e8c344f95670925309b2e0");
  EXPECT_EQ(blended(0.3f), "1b17264ba7c078b44eb758ee8ab33565");
  EXPECT_EQ(blended(1.8f), "5558e352bf273dc7bc442b347e9cabf1");
}

TEST(Colour, BrightnessGreyAndSolariseOfEveryColourEqualPillow) {
  EXPECT_EQ(changed([](const Pixels& pixels) { adjust_brightness(pixels, 0.2f); }),
            "db74d2d325cb5a4de4ec2ad2c30affff");
  EXPECT_EQ(changed([](const Pixels& pixels) { adjust_brightness(pixels, 1.4f); }),
            "2da701b4706c8864cde965bf20cbd717");
  EXPECT_EQ(changed(make_grey), "1762b52f50e8c344f95670925309b2e0");
  EXPECT_EQ(changed([](const Pixels& pixels) { solarise(pixels, 100); }),
            "68a03135bdfa6822132974ac50f5a788");
}

TEST(Colour, ContrastEqualsPillow) {
  struct Case {
    std::int64_t width, height, channels;
    float factor;
    const char* hash;
  };
  for (const Case& one : {Case{17, 5, 3, 0.2f, "c5856270d8e19b5cb60e8010ed0ed8f9"},
                          Case{17, 5, 3, 1.8f, "5908baa87fb382fb8907e5c264654937"},
                          Case{64, 48, 3, 0.2f, "cd464c45028e06d468b5259db88479c3"},
                          Case{64, 48, 3, 1.8f, "7425776830712ed5f0401b05974b5e6f"},
                          Case{61, 33, 1, 0.2f, "6da14d6b1618316f237df5059cab274f"},
                          Case{61, 33, 1, 1.8f, "649271d30f95e6e55f5a31aba773ea3b"}}) {
    Image image = pattern(one.width, one.height, one.channels);
    adjust_contrast(pixels_of(image), one.factor);
    EXPECT_EQ(hash_of(image.pixels), one.hash) << one.width << " factor " << one.factor;
  }
}

TEST(Colour, GreyPicturesHaveNoHueAndNoSaturation) {
  Image image = pattern(19, 7, 1);
  adjust_hue(pixels_of(image), 0.3f);
  adjust_saturation(pixels_of(image), 1.7f);
  make_grey(pixels_of(image));
  EXPECT_EQ(image, pattern(19, 7, 1));
}

TEST(Blur, EqualsPillow) {
  struct Case {
    std::int64_t width, height, channels;
    double sigma;
    const char* hash;
  };
  for (const Case& one : {Case{1, 1, 3, 0.1, "958a1a92db102d01e90c224dc2d7a210"},
                          Case{1, 1, 3, 5.0, "958a1a92db102d01e90c224dc2d7a210"},
                          Case{3, 2, 1, 0.7, "ae90bab5b4ec57e0492d42ec5b218720"},
                          Case{3, 2, 1, 2.0, "3408f1f5bdb857a55cbec0fdfbec4661"},
                          Case{3, 2, 1, 5.0, "b27decd16ad6d45faf5a158612c49b9f"},
                          Case{17, 5, 3, 0.1, "094ea3baf1e8b849a8cb8962494113d5"},
                          Case{17, 5, 3, 1.3, "2a13380106147b04f750b2b1911fd3a4"},
                          Case{17, 5, 3, 5.0, "0d3e80ce3fea6dce731ab27d1429ac58"},
                          Case{64, 48, 3, 0.7, "e3e1a673015edc6e6a44472c65637f33"},
                          Case{64, 48, 3, 1.3, "a3c6bb07aa094214605e5b38c36fc287"},
                          Case{64, 48, 3, 2.0, "f728e2435bad4927db737cbc68d9b3db"},
                          Case{64, 48, 3, 5.0, "76ca635304cd42a9417c783c9e332387"},
                          Case{61, 33, 1, 0.1, "fc01a719d974f4cb6b7e817b905784e1"},
                          Case{61, 33, 1, 2.0, "8110ebff52b0858b37dd26f393d33bd5"}}) {
    Image image = pattern(one.width, one.height, one.channels);
    blur_pillow(image.pixels.data(), one.width, one.height, one.channels, one.sigma);
    EXPECT_EQ(hash_of(image.pixels), one.hash) << one.width << " sigma " << one.sigma;
  }
}

// The definition, in double: one dimension at a time, value -1 stands for black.
double blurred_at(const Image& image, std::int64_t x, std::int64_t y, std::int64_t c, double sigma,
                  std::int64_t reach, BlurEdge edge) {
  const auto seen = [&](std::int64_t at, std::int64_t size) {
    if (at >= 0 && at < size) return at;
    if (edge == BlurEdge::kBlack) return std::int64_t{-1};
    return at < 0 ? -at : 2 * (size - 1) - at;
  };
  double sum = 0.0, total = 0.0;
  for (std::int64_t dy = -reach; dy <= reach; ++dy) {
    for (std::int64_t dx = -reach; dx <= reach; ++dx) {
      const double weight =
          std::exp(-static_cast<double>(dx * dx + dy * dy) / (2.0 * sigma * sigma));
      total += weight;
      const std::int64_t row = seen(y + dy, image.height), column = seen(x + dx, image.width);
      if (row >= 0 && column >= 0) {
        sum += weight * image.row(row)[column * image.channels + c];
      }
    }
  }
  return sum / total;
}

TEST(Blur, GaussianIsWithinALevelOfTheDefinition) {
  for (const BlurEdge edge : {BlurEdge::kMirrored, BlurEdge::kBlack}) {
    for (const std::int64_t channels : {1, 3}) {
      for (const auto& [sigma, taps] : {std::pair{0.1, 3}, {0.7, 3}, {1.3, 9}, {2.0, 13}}) {
        const Image image = pattern(29, 21, channels);
        Image ours = image;
        blur_gaussian(ours.pixels.data(), 29, 21, channels, sigma, taps, edge);
        double worst = 0.0, sum = 0.0;
        for (std::int64_t y = 0; y < 21; ++y) {
          for (std::int64_t i = 0; i < 29 * channels; ++i) {
            const double off = ours.row(y)[i] - blurred_at(image, i / channels, y, i % channels,
                                                           sigma, taps / 2, edge);
            worst = std::max(worst, std::abs(off));
            sum += off;
          }
        }
        EXPECT_LT(worst, 0.6) << "sigma " << sigma;  // half a level is rounding
        EXPECT_LT(std::abs(sum / static_cast<double>(image.pixels.size())), 0.05);
      }
    }
  }
}

TEST(Blur, AnEvenPictureStaysEvenButForBlackBorders) {
  Image image(24, 20, 3);
  std::ranges::fill(image.pixels, std::uint8_t{200});
  Image black = image;
  blur_gaussian(image.pixels.data(), 24, 20, 3, 1.5, 9, BlurEdge::kMirrored);
  EXPECT_TRUE(std::ranges::all_of(image.pixels, [](std::uint8_t x) { return x == 200; }));
  blur_gaussian(black.pixels.data(), 24, 20, 3, 1.5, 9, BlurEdge::kBlack);
  EXPECT_EQ(black.row(10)[12 * 3], 200);
  EXPECT_LT(black.row(0)[0], 100);  // about a quarter of the kernel is seen, and its middle
  EXPECT_THROW(blur_gaussian(image.pixels.data(), 24, 20, 3, 1.5, 41, BlurEdge::kMirrored), Error);
}

TEST(Resize, BilinearEqualsPillow) {
  const auto resized = [](std::int64_t from_width, std::int64_t from_height, std::int64_t channels,
                          std::int64_t width, std::int64_t height) {
    Image out(width, height, channels);
    resize(pattern(from_width, from_height, channels), width, height, Filter::kBilinear,
           {0, 0, width, height}, false, out.pixels.data());
    return out.pixels;
  };
  const std::vector<std::uint8_t> reduced = {61,  128, 127, 163, 151, 142,
                                             148, 140, 106, 125, 142, 131};
  EXPECT_EQ(resized(7, 5, 1, 4, 3), reduced);
  EXPECT_EQ(hash_of(resized(50, 40, 3, 23, 61)), "e421527f4901a140e7110c88457ba6fd");
  EXPECT_EQ(hash_of(resized(50, 40, 3, 224, 224)), "070e27bfa2838034093868da6ab77a46");
  EXPECT_EQ(hash_of(resized(200, 150, 3, 96, 96)), "c3a1550896c76a50e003677026826bc1");
}

TEST(View, ChangesAreMadeInTheirOrder) {
  ViewOptions options;
  options.size = 18;
  options.jitter = {0.4, 0.4, 0.4, 0.1};
  ViewDraw draw;
  draw.region = {3, 2, 30, 20};
  draw.is_mirrored = draw.is_jittered = draw.is_grey = draw.is_solarised = true;
  draw.order = {ViewDraw::kHue, ViewDraw::kContrast, ViewDraw::kBrightness, ViewDraw::kSaturation};
  draw.amounts = {0.8f, 1.3f, 0.7f, 0.05f};
  draw.blur_sigma = 1.1;
  const Image picture = pattern(40, 30, 3);
  Image ours(18, 18, 3);
  make_view(ImageView(picture, draw.region), options, draw, ours.pixels.data());

  Image expected(18, 18, 3);
  resize(ImageView(picture, draw.region), 18, 18, Filter::kBicubic, {0, 0, 18, 18}, true,
         expected.pixels.data());
  adjust_hue(pixels_of(expected), 0.05f);
  adjust_contrast(pixels_of(expected), 1.3f);
  adjust_brightness(pixels_of(expected), 0.8f);
  adjust_saturation(pixels_of(expected), 0.7f);
  make_grey(pixels_of(expected));
  blur_pillow(expected.pixels.data(), 18, 18, 3, 1.1);
  solarise(pixels_of(expected), 128);
  EXPECT_EQ(ours, expected);
}

}  // namespace
}  // namespace kiln
