#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/importers/import.h"
#include "data/store/dataset.h"
#include "tests/support/temporary_folder.h"

// Everything that lies in a folder of pictures is imported, counted under a reason, or an error.

namespace kiln {
namespace {

namespace fs = std::filesystem;

/// The file of an entry of pictures.json, and the pixels Pillow makes of it.
struct Sample {
  std::vector<std::uint8_t> file;
  std::vector<std::uint8_t> pixels;
};

std::vector<std::uint8_t> bytes_of(const std::string& hex) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

Sample sample(const std::string& name) {
  std::ifstream in(KILN_SOURCE_DIR "/tests/data/files/pictures.json");
  for (const auto& entry : nlohmann::json::parse(in)) {
    if (entry.at("name") == name) return {bytes_of(entry.at("file")), bytes_of(entry.at("pixels"))};
  }
  ADD_FAILURE() << "no picture '" << name << "'";
  return {};
}

class ImportFoldersTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::vector<std::uint8_t>& bytes) const {
    const fs::path path = in() / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
  }
  void write_png(const std::string& name) const { write(name, encode_png(Image(16, 12, 3))); }
  fs::path in() const { return folder_ / "in"; }
  ImportOptions options(bool skips_broken = false) const {
    ImportOptions options;
    options.inputs = {in()};
    options.out = folder_ / "out";
    options.skip_broken = skips_broken;
    return options;
  }
  FinishedImport run(bool skips_broken = false) const {
    import_images(options(skips_broken));
    return finish_import(options(skips_broken));
  }
  std::string message_of() const {
    try {
      run();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "nothing was thrown";
  }
  TemporaryFolder folder_;
};

std::map<std::string, std::int64_t> counts_of(const LeftOut& left_out) {
  std::map<std::string, std::int64_t> counts;
  for (const auto& [reason, which] : left_out.reasons) counts[reason] = which.count;
  return counts;
}

TEST_F(ImportFoldersTest, EmptyFoldersAreClassesHiddenOnesAreNot) {
  write_png("blue/1.png");
  write_png("red/1.png");
  write_png("red/.2.png");
  write_png(".ipynb_checkpoints/1.png");
  write_png("__MACOSX/blue/1.png");
  fs::create_directories(in() / "green");
  write("red/notes.TXT", {'x'});
  write("README", {'x'});
  const FinishedImport done = run();
  EXPECT_EQ(done.manifest.class_names, (std::vector<std::string>{"blue", "green", "red"}));
  EXPECT_EQ(done.class_counts, (std::vector<std::int64_t>{1, 0, 1}));
  EXPECT_EQ(counts_of(done.left_out),
            (std::map<std::string, std::int64_t>{{"hidden", 3},
                                                 {"no picture by its ending (.TXT)", 1},
                                                 {"no picture by its ending (none)", 1}}));
}

TEST_F(ImportFoldersTest, OtherFormatsBecomePngWithTheirPixels) {
  const std::vector<std::string> names = {"webp lossless", "tiff RGB tiff_lzw", "bmp rgb",
                                          "webp exif", "tiff RGBA None"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    // What a file is, its content says.
    write(std::to_string(i) + (i % 2 == 0 ? ".webp" : ".jpg"), sample(names[i]).file);
  }
  run();
  const Dataset dataset(folder_ / "out");
  ASSERT_EQ(dataset.num_samples(), 5);
  std::multiset<std::vector<std::uint8_t>> found, expected;
  std::vector<std::uint8_t> row;
  for (std::int64_t i = 0; i < 5; ++i) {
    dataset.shard(0)->read_row("image", i, row);
    EXPECT_TRUE(is_png(row));
    found.insert(ImageDecoder(row).decode(3).pixels);
    expected.insert(sample(names[static_cast<std::size_t>(i)]).pixels);
  }
  EXPECT_EQ(found, expected);
}

TEST_F(ImportFoldersTest, WhatCannotBeReadIsNamedAndLeftOutOnRequest) {
  write_png("good.png");
  write("moving.gif", {'G', 'I', 'F', '8', '9', 'a', 1, 0, 1, 0});
  write("page.png", {'<', 'h', 't', 'm', 'l', '>'});
  write("empty.jpg", {});
  fs::create_symlink("nowhere.jpg", in() / "gone.jpg");
  fs::create_directory_symlink(in(), in() / "circle");
  auto bomb = encode_png(Image(16, 12, 3));
  bomb[16 + 1] = bomb[20 + 1] = 13;  // 900,000 x 900,000 or so
  write("bomb.png", bomb);
  const std::string message = message_of();
  for (const char* part :
       {"moving.gif: neither a JPEG nor a PNG file but a GIF file", "page.png: neither",
        "empty.jpg: neither a JPEG nor a PNG file but an empty file",
        "gone.jpg: a link that leads nowhere", "circle: a link to a folder that it lies in",
        "bomb.png: "}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in " << message;
  }
  const FinishedImport done = run(true);
  EXPECT_EQ(done.manifest.num_samples, 1);
  EXPECT_EQ(done.skipped.size(), 6u);
}

TEST_F(ImportFoldersTest, ThePixelsOfAFileAreBounded) {
  // Headers of 900,000 x 900,000 pixels, with the checksum that belongs to them (by zlib).
  const std::vector<std::uint8_t> png = {
      0x89, 'P',  'N',  'G',  13,   10, 26, 10,   0,    0,   0,   13,   'I',  'H',  'D',
      'R',  0,    13,   0xBB, 0xA0, 0,  13, 0xBB, 0xA0, 8,   2,   0,    0,    0,    0x5F,
      0xDF, 0x06, 0xD8, 0,    0,    0,  0,  'I',  'D',  'A', 'T', 0x35, 0xAF, 0x06, 0x1E};
  write_png("good.png");
  write("bomb.png", png);
  EXPECT_NE(message_of().find("bomb.png: it announces 900000 x 900000 pixels"), std::string::npos)
      << message_of();
  EXPECT_EQ(run(true).manifest.num_samples, 1);
}

TEST_F(ImportFoldersTest, APipeIsLeftOutWithoutWaiting) {
  write_png("good.png");
  ASSERT_EQ(::mkfifo((in() / "pipe.png").c_str(), 0600), 0);
  EXPECT_EQ(counts_of(run().left_out),
            (std::map<std::string, std::int64_t>{{"a pipe, socket or device", 1}}));
}

TEST_F(ImportFoldersTest, NamesThatAreNoUtf8AreReported) {
  write_png("cat/\xE9.png");
  write("cat/\xE9.gif", {'G', 'I', 'F', '8'});
  EXPECT_EQ(run(true).manifest.num_samples, 1);
  write_png("\xE9t\xE9/1.png");
  EXPECT_NE(message_of().find("has a name that is not UTF-8"), std::string::npos) << message_of();
}

}  // namespace
}  // namespace kiln
