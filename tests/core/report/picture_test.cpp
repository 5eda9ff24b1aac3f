#include "core/report/picture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <png.h>

#include <limits>

#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

at::Tensor decode(const std::string& bytes, int channels) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_TRUE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()));
  image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  at::Tensor pixels = at::empty({image.height, image.width, channels}, at::kByte);
  EXPECT_TRUE(png_image_finish_read(&image, nullptr, pixels.mutable_data_ptr(), 0, nullptr));
  return pixels;
}

TEST(Picture, PngKeepsEveryPixel) {
  const at::Tensor bytes = at::arange(5 * 7 * 3, at::kByte).mul(7);
  const at::Tensor colour = bytes.view({5, 7, 3});
  const at::Tensor grey = bytes.view({15, 7, 1});
  EXPECT_TRUE(at::equal(decode(encode_png(colour), 3), colour));
  EXPECT_TRUE(at::equal(decode(encode_png(grey), 1), grey));
  EXPECT_TRUE(at::equal(decode(encode_png(colour.transpose(0, 1)), 3), colour.transpose(0, 1)));
}

TEST(Picture, WritesAFile) {
  const TemporaryFolder folder;
  const at::Tensor picture = at::arange(12, at::kByte).view({2, 2, 3});
  write_png(folder / "a.png", picture);
  EXPECT_TRUE(at::equal(decode(read_text_file(folder / "a.png"), 3), picture));
}

TEST(Picture, ValuesAreRoundedAndClamped) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor values = at::tensor({-1.0f, 0.0f, 0.5f, 1.0f, 7.0f, nan, 0.25f});
  EXPECT_TRUE(at::equal(to_uint8(values), at::tensor({0, 0, 128, 255, 255, 0, 64}, at::kByte)));
}

TEST(Picture, GridPutsPicturesInRows) {
  const at::Tensor pictures = at::tensor({1, 2, 3}, at::kByte).view({3, 1, 1, 1});
  GridOptions options;
  options.columns = 2;
  options.gap = 1;
  options.scale = 2;
  options.background = 9;
  const at::Tensor expected = at::tensor({9, 9, 9, 9, 9, 9, 9,  //
                                          9, 1, 1, 9, 2, 2, 9,  //
                                          9, 1, 1, 9, 2, 2, 9,  //
                                          9, 9, 9, 9, 9, 9, 9,  //
                                          9, 3, 3, 9, 9, 9, 9,  //
                                          9, 3, 3, 9, 9, 9, 9,  //
                                          9, 9, 9, 9, 9, 9, 9},
                                         at::kByte);
  EXPECT_TRUE(at::equal(picture_grid(pictures, options), expected.view({7, 7, 1})));
}

}  // namespace
}  // namespace kiln
