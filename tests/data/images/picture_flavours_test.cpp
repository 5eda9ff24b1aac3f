#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/importers/other_pictures.h"

// Every flavour of picture against the pixels that Pillow makes of it: tests/data/files/pictures.json,
// written by make_pictures.py beside it.

namespace kiln {
namespace {

std::vector<std::uint8_t> bytes_of(const std::string& hex) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

nlohmann::json pictures() {
  std::ifstream in(KILN_SOURCE_DIR "/tests/data/files/pictures.json");
  return nlohmann::json::parse(in);
}

Image decode(const std::vector<std::uint8_t>& file) {
  if (is_webp(file)) return decode_webp(file, kMostPixels);
  if (is_tiff(file)) return decode_tiff(file, kMostPixels);
  if (is_bmp(file)) return decode_bmp(file, kMostPixels);
  ImageDecoder decoder(file);
  return decoder.decode(decoder.channels());
}

TEST(PictureFlavours, HoldThePixelsThatPillowMakesOfThem) {
  const auto all = pictures();
  ASSERT_GT(all.size(), 80u);
  for (const auto& entry : all) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    Image image;
    ASSERT_NO_THROW(image = decode(bytes_of(entry.at("file"))));
    EXPECT_EQ(image.width, entry.at("width").get<std::int64_t>());
    EXPECT_EQ(image.height, entry.at("height").get<std::int64_t>());
    // A palette is read as colour, whatever its colours are.
    const auto expected = bytes_of(entry.at("pixels"));
    const std::int64_t channels = entry.at("channels");
    int worst = 0;
    for (std::int64_t i = 0; i < image.width * image.height; ++i) {
      for (std::int64_t c = 0; c < image.channels; ++c) {
        const int found = image.pixels[static_cast<std::size_t>(i * image.channels + c)];
        const std::int64_t at = i * channels + (channels == 1 ? 0 : c);
        worst = std::max(worst, std::abs(found - expected.at(static_cast<std::size_t>(at))));
      }
    }
    EXPECT_LE(worst, entry.at("tolerance").get<int>());
  }
}

TEST(PictureFlavours, CutShortTheyAreRefused) {
  for (const auto& entry : pictures()) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    auto file = bytes_of(entry.at("file"));
    for (const std::size_t size : {file.size() / 2, std::size_t{20}}) {
      const std::vector<std::uint8_t> cut(file.begin(),
                                          file.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_THROW(decode(cut), Error);
    }
  }
}

TEST(PictureFlavours, FilesThatAnnounceTooManyPixelsAreNotDecoded) {
  for (const auto& entry : pictures()) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    const auto file = bytes_of(entry.at("file"));
    const auto refusal = [&](std::int64_t most) -> std::string {
      try {
        if (is_webp(file)) decode_webp(file, most);
        if (is_tiff(file)) decode_tiff(file, most);
        if (is_bmp(file)) decode_bmp(file, most);
        if (is_jpeg(file) || is_png(file)) ImageDecoder(file, most);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kData);
        return error.what();
      }
      return "";
    };
    const std::int64_t pixels =
        entry.at("width").get<std::int64_t>() * entry.at("height").get<std::int64_t>();
    EXPECT_EQ(refusal(pixels), "");
    if (pixels > 1) {
      EXPECT_NE(refusal(pixels - 1).find("--max-pixels"), std::string::npos);
    }
  }
}

TEST(PictureFlavours, EncodePngIsReadBack) {
  for (const std::int64_t channels : {1, 3}) {
    Image image(7, 5, channels);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      image.pixels[i] = static_cast<std::uint8_t>(i * 5);
    }
    EXPECT_EQ(ImageDecoder(encode_png(image)).decode(channels), image);
  }
}

}  // namespace
}  // namespace kiln
