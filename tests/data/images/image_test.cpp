#include "data/images/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "data/images/crop.h"
#include "data/images/decode.h"
#include "data/images/resize.h"
#include "data/images/resize_passes.h"
#include "tests/data/patterns.h"
#include "tests/data/pictures.h"

namespace kiln {
namespace {

Image cut(const Image& from, const Box& box) {
  Image out(box.width, box.height, from.channels);
  for (std::int64_t y = 0; y < box.height; ++y) {
    std::copy_n(from.row(box.top + y) + box.left * from.channels, out.row_bytes(), out.row(y));
  }
  return out;
}

Image decode_part(const std::vector<std::uint8_t>& file, const Box& box, std::int64_t channels) {
  Image memory;
  return copy_of(ImageDecoder(file).decode(box, channels, memory));
}

Image mirrored(const Image& from) {
  Image out = from;
  for (std::int64_t y = 0; y < from.height; ++y) {
    for (std::int64_t x = 0; x < from.width; ++x) {
      std::copy_n(from.row(y) + (from.width - 1 - x) * from.channels, from.channels,
                  out.row(y) + x * from.channels);
    }
  }
  return out;
}

// Expected values: Image.resize(BICUBIC) of Pillow 9 to 12, columns before rows.
TEST(Resize, EqualsPillowReducing) {
  const std::vector<std::uint8_t> expected = {57,  131, 126, 162, 155, 148,
                                              148, 139, 103, 127, 143, 130};
  EXPECT_EQ(resize_bicubic(pattern(7, 5, 1), 4, 3).pixels, expected);
}

TEST(Resize, EqualsPillowEnlarging) {
  const std::vector<std::uint8_t> expected = {
      0,   13,  42,  68,  93,  122, 154, 180, 208, 227, 62,  85,  126, 172, 221,
      169, 48,  79,  130, 164, 159, 200, 200, 107, 142, 152, 124, 177, 131, 59,
      114, 161, 172, 96,  141, 157, 138, 207, 174, 107, 21,  66,  118, 143, 212,
      188, 86,  97,  159, 216, 106, 170, 169, 28,  72,  159, 210, 69,  68,  132};
  EXPECT_EQ(resize_bicubic(pattern(7, 5, 1), 10, 6).pixels, expected);
}

TEST(Resize, SameSizeChangesNothing) {
  EXPECT_EQ(resize_bicubic(pattern(17, 9, 3), 17, 9), pattern(17, 9, 3));
}

TEST(Resize, ASideThatKeepsItsSizeHasWeightsOfZeroAndOne) {
  for (std::int64_t size = 1; size < 700; ++size) {
    for (const TapTable table(size, size, 0, size); const Taps& taps : table.taps) {
      const std::int64_t output = &taps - table.taps.data();
      for (std::int64_t k = 0; k < taps.count; ++k) {
        const bool is_itself = taps.first + k == output;
        ASSERT_EQ(taps.weights[k], is_itself ? 1 << TapTable::kPrecisionBits : 0)
            << size << ": " << output;
      }
    }
  }
}

TEST(Resize, QuadsAndPairsGiveTheSameBits) {
  // Sizes from one step of four outputs, or of 64 bytes, to the next; noise, so that sums leave
  // the range of 8 bits on both sides.
  Image whole(97, 61, 3);
  for (std::size_t i = 0; i < whole.pixels.size(); ++i) {
    const std::uint64_t noise = (i + 1) * 0x9E3779B97F4A7C15ull;
    whole.pixels[i] = noise >> 63 != 0   ? 255
                      : noise >> 62 != 0 ? 0
                                         : static_cast<std::uint8_t>(noise >> 40);
  }
  int compared = 0;
  for (std::int64_t in_size = 20; in_size <= 61; in_size += 3) {
    const ImageView in(whole, {in_size % 7, 61 - in_size, in_size + in_size % 5, in_size});
    for (const std::int64_t size : {1, 3, 4, 5, 16, 21, 23, 31, 64, 65, 90}) {
      for (const bool is_mirrored : {false, true}) {
        const std::int64_t begin = size / 3;
        TapTable columns(in.width, size, begin, size - begin);
        if (is_mirrored) std::ranges::reverse(columns.taps);
        if (!can_resize_in_quads(in, columns)) continue;
        const TapTable rows(in.height, size + 2, begin, size + 1 - begin);
        Image quads(columns.size(), rows.size(), 3), pairs = quads;
        resize_in_quads(in, columns, rows, quads.pixels.data());
        resize_in_pairs(in, columns, rows, pairs.pixels.data());
        ASSERT_EQ(quads, pairs) << in.width << " x " << in.height << " to " << size;
        ++compared;
      }
    }
  }
  if (compared == 0) GTEST_SKIP() << "this processor has no 8-bit multiply-add";
}

TEST(Resize, ChannelsDoNotMix) {
  const Image colour = resize_bicubic(pattern(50, 40, 3), 23, 61);
  for (std::int64_t c = 0; c < 3; ++c) {
    Image one(50, 40, 1);
    const Image all = pattern(50, 40, 3);
    for (std::size_t i = 0; i < one.pixels.size(); ++i) {
      one.pixels[i] = all.pixels[3 * i + static_cast<std::size_t>(c)];
    }
    const Image resized = resize_bicubic(one, 23, 61);
    for (std::size_t i = 0; i < resized.pixels.size(); ++i) {
      ASSERT_EQ(resized.pixels[i], colour.pixels[3 * i + static_cast<std::size_t>(c)]);
    }
  }
}

TEST(Resize, AWindowIsThatPartOfTheWhole) {
  const Image in = pattern(60, 45, 3);
  const Box window = {5, 7, 20, 11};
  Image part(window.width, window.height, 3);
  resize(in, 37, 29, Filter::kBicubic, window, false, part.pixels.data());
  EXPECT_EQ(part, cut(resize_bicubic(in, 37, 29), window));
}

TEST(Resize, MirrorsWhatItWouldMake) {
  for (const std::int64_t channels : {1, 3}) {
    for (const std::int64_t width : {1, 2, 5, 6, 11, 16, 37}) {
      for (const std::int64_t from : {width, width + 7}) {
        for (const std::int64_t height : {9, 13}) {
          const Image in = pattern(from, 13, channels);
          Image out(width, height, channels);
          resize(in, width, height, Filter::kBicubic, {0, 0, width, height}, true,
                 out.pixels.data());
          EXPECT_EQ(out, mirrored(resize_bicubic(in, width, height)))
              << from << " to " << width << ", height " << height << ", channels " << channels;
        }
      }
    }
  }
}

// The memory around a part holds other pixels, which must not be seen.
TEST(Resize, OfAPartIsOfTheSamePixelsAlone) {
  const Image whole = pattern(40, 30, 3);
  for (const Box& box :
       {Box{3, 2, 17, 11}, Box{1, 28, 39, 2}, Box{36, 0, 4, 30}, Box{39, 29, 1, 1}}) {
    EXPECT_EQ(resize_bicubic(ImageView(whole, box), 12, 14),
              resize_bicubic(cut(whole, box), 12, 14));
  }
}

TEST(Decode, ARegionOfAJpegEqualsThatPartOfTheWhole) {
  const auto file = encode_jpeg(pattern(203, 151, 3), 85);  // chroma at half resolution
  const Image whole = ImageDecoder(file).decode(3);
  ASSERT_EQ(whole.width, 203);
  for (std::int64_t i = 0; i < 60; ++i) {
    const Box box =
        random_resized_crop(Philox(1, Purpose::kCrop, i), 203, 151, {0.001, 1.0}, {0.3, 3.0});
    ASSERT_EQ(decode_part(file, box, 3), cut(whole, box))
        << box.left << " " << box.top << " " << box.width << " " << box.height;
  }
}

TEST(Decode, GreyBecomesThreeEqualChannels) {
  const auto file = encode_jpeg(pattern(20, 10, 1), 90);
  EXPECT_EQ(ImageDecoder(file).channels(), 1);
  const Image grey = ImageDecoder(file).decode(1);
  const Image colour = ImageDecoder(file).decode(3);
  for (std::size_t i = 0; i < colour.pixels.size(); ++i) {
    ASSERT_EQ(colour.pixels[i], grey.pixels[i / 3]);
  }
}

TEST(Decode, PngIsLossless) {
  for (const std::int64_t channels : {1, 3}) {
    const Image image = pattern(31, 17, channels);
    const auto file = encode_png(image);
    EXPECT_EQ(ImageDecoder(file).decode(channels), image);
    const Box box = {4, 5, 9, 3};
    EXPECT_EQ(decode_part(file, box, channels), cut(image, box));
  }
}

TEST(Decode, RefusesDamagedFiles) {
  const auto jpeg = encode_jpeg(pattern(64, 64, 3), 90);
  const auto png = encode_png(pattern(64, 64, 3));
  for (const auto& file : {jpeg, png}) {
    for (const double share : {0.01, 0.5, 0.95}) {
      const auto size = static_cast<std::size_t>(share * static_cast<double>(file.size()));
      const std::vector<std::uint8_t> part(file.begin(),
                                           file.begin() + static_cast<std::int64_t>(size));
      EXPECT_THROW(ImageDecoder(part).decode(3), Error) << share;
    }
  }
  EXPECT_THROW(ImageDecoder(std::vector<std::uint8_t>{'G', 'I', 'F', '8'}), Error);
  EXPECT_THROW(ImageDecoder(std::vector<std::uint8_t>{}), Error);
}

// What each EXIF orientation shows of the stored rows "ab", "cd", "ef".
TEST(Decode, AppliesOrientation) {
  Image stored(2, 3, 1);
  stored.pixels = {'a', 'b', 'c', 'd', 'e', 'f'};
  const std::vector<std::string> shown = {"abcdef", "badcfe", "fedcba", "efcdab",
                                          "acebdf", "ecafdb", "fdbeca", "bdface"};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image image = apply_orientation(stored, orientation);
    EXPECT_EQ(std::string(image.pixels.begin(), image.pixels.end()),
              shown[static_cast<std::size_t>(orientation - 1)]);
    EXPECT_EQ(image.width, orientation < 5 ? 2 : 3);
  }
}

TEST(Decode, ARegionOfATurnedPictureEqualsThatPartOfTheWhole) {
  for (std::uint8_t orientation = 1; orientation <= 8; ++orientation) {
    const auto file = with_exif_orientation(encode_jpeg(pattern(60, 40, 3), 90), orientation);
    const Image whole = ImageDecoder(file).decode(3);
    EXPECT_EQ(whole.width, orientation < 5 ? 60 : 40);
    const Box box = {5, 9, 21, 17};
    EXPECT_EQ(decode_part(file, box, 3), cut(whole, box)) << int{orientation};
  }
}

TEST(Crop, StaysInsideAndWithinItsRanges) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < 5000; ++i) {
    const Box box = random_resized_crop(Philox(3, Purpose::kCrop, i), 1000, 800, {0.2, 1.0},
                                        {3.0 / 4.0, 4.0 / 3.0});
    ASSERT_GE(box.left, 0);
    ASSERT_GE(box.top, 0);
    ASSERT_LE(box.left + box.width, 1000);
    ASSERT_LE(box.top + box.height, 800);
    const double ratio = static_cast<double>(box.width) / static_cast<double>(box.height);
    ASSERT_GT(ratio, 0.74);
    ASSERT_LT(ratio, 1.35);
    const double share = static_cast<double>(box.width * box.height) / 800'000.0;
    ASSERT_GT(share, 0.199);
    sum += share;
  }
  // Large crops of unfitting ratio are drawn again, so the mean lies below that of [0.2, 1].
  EXPECT_GT(sum / 5000.0, 0.5);
  EXPECT_LT(sum / 5000.0, 0.6);
}

TEST(Crop, FallsBackToTheCentre) {
  const std::vector<double> ratio = {3.0 / 4.0, 4.0 / 3.0};
  EXPECT_EQ(random_resized_crop(Philox(0, Purpose::kCrop, 0), 12, 1000, {0.2, 1.0}, ratio),
            (Box{0, 492, 12, 16}));
  EXPECT_EQ(random_resized_crop(Philox(0, Purpose::kCrop, 0), 1000, 12, {0.2, 1.0}, ratio),
            (Box{492, 0, 16, 12}));
}

TEST(Crop, CentreCropScalesTheShorterSide) {
  const Framing framing = frame_center(500, 375, 224);
  EXPECT_EQ(framing.height, 256);
  EXPECT_EQ(framing.width, 341);
  EXPECT_EQ(framing.window, (Box{58, 16, 224, 224}));
  EXPECT_EQ(frame_center(28, 28, 28).width, 28);
}

}  // namespace
}  // namespace kiln
