#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/importers/import.h"
#include "data/importers/tar.h"
#include "data/store/dataset.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

// A ustar entry; names over 100 characters get a GNU long-name entry before them.
std::string tar_entry(const std::string& name, const std::string& content, char type = '0') {
  std::string bytes;
  if (name.size() > 100) bytes = tar_entry("././@LongLink", name + '\0', 'L');
  std::string header(512, '\0');
  header.replace(0, std::min<std::size_t>(name.size(), 100), name.substr(0, 100));
  char size[13] = {};
  std::snprintf(size, sizeof(size), "%011o", static_cast<unsigned>(content.size()));
  header.replace(124, 12, size, 12);
  header[156] = type;
  header.replace(257, 6, "ustar\0", 6);
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char checksum[8] = {};
  std::snprintf(checksum, sizeof(checksum), "%06o", sum);
  header.replace(148, 8, checksum, 8);
  bytes += header + content;
  bytes.resize((bytes.size() + 511) / 512 * 512);
  return bytes;
}

std::string picture(std::uint8_t shade) {
  Image image(16, 12, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), shade);
  const auto bytes = encode_jpeg(image, 90);
  return {bytes.begin(), bytes.end()};
}

class WebDatasetTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  ImportOptions options() {
    ImportOptions options;
    options.inputs = {folder_.path()};
    options.out = folder_ / "out";
    return options;
  }
  std::string message_of() {
    try {
      import_webdataset(options());
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  TemporaryFolder folder_;
};

TEST_F(WebDatasetTest, ReadsPicturesAndClassesInOrder) {
  const std::string long_name = std::string(120, 'n') + "/b";
  write("0.tar", tar_entry("a.cls", "2") + tar_entry("a.jpg", picture(10)) +
                     tar_entry(long_name + ".jpg", picture(20)) +
                     tar_entry(long_name + ".cls", "0\n") + std::string(1024, '\0'));
  write("1.tar",
        tar_entry("c.json", "{}") + tar_entry("c.jpeg", picture(30)) + tar_entry("c.cls", "1"));
  import_webdataset(options());
  const Manifest manifest = finish_import(options()).manifest;
  EXPECT_EQ(manifest.num_samples, 3);
  EXPECT_EQ(manifest.class_names.size(), 3u);
  const Dataset dataset(folder_ / "out");
  std::vector<std::uint8_t> row;
  const std::uint8_t labels[] = {2, 0, 1};
  for (std::int64_t i = 0; i < 3; ++i) {
    dataset.shard(0)->read_row("label", i, row);
    EXPECT_EQ(row[0], labels[i]);
    dataset.shard(0)->read_row("image", i, row);
    EXPECT_NEAR(ImageDecoder(row).decode(1).pixels[0], 10.0 * static_cast<double>(i + 1), 2.0);
  }
}

TEST_F(WebDatasetTest, LongNamesAreWhole) {
  const std::string name = std::string(120, 'n') + ".txt";
  write("0.tar", tar_entry(name, "x"));
  EXPECT_EQ(list_tar(folder_ / "0.tar").at(0).name, name);
}

TEST_F(WebDatasetTest, RefusesCutAndCompressedArchives) {
  const std::string whole = tar_entry("a.jpg", picture(10));
  write("0.tar", whole.substr(0, 700));
  EXPECT_NE(message_of().find("cut short within 'a.jpg'"), std::string::npos) << message_of();
  write("0.tar", "\x1F\x8B" + std::string(600, 'z'));
  EXPECT_NE(message_of().find("not an uncompressed tar"), std::string::npos) << message_of();
}

TEST_F(WebDatasetTest, RefusesHalfLabelledSets) {
  write("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("b.jpg", picture(10)) +
                     tar_entry("b.cls", "1"));
  EXPECT_NE(message_of().find("1 of 2 pictures have a .cls file"), std::string::npos);
  write("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("a.cls", "cat"));
  EXPECT_NE(message_of().find("a class is a number"), std::string::npos);
}

}  // namespace
}  // namespace kiln
