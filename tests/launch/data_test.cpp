// What `kiln data` and the evaluations make of a user's inputs, through the real program: used as they
// are meant, or refused with one line.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using Colour = std::array<unsigned char, 3>;  // blue, green, red, as BMP has them
const std::map<std::string, Colour> kColours = {
    {"blue", {220, 20, 20}}, {"green", {20, 220, 20}}, {"red", {20, 20, 220}}};

/// A BMP file of 16 x 16 pixels of nearly one colour.
void write_picture(const fs::path& path, Colour colour, int number) {
  fs::create_directories(path.parent_path());
  std::string file = "BM";
  const auto word = [&](unsigned value, int size) {
    for (int i = 0; i < size; ++i) file += static_cast<char>(value >> 8 * i);
  };
  for (const unsigned value : {54u + 768u, 0u, 54u, 40u, 16u, 16u}) word(value, 4);
  word(1, 2);
  word(24, 2);
  for (int i = 0; i < 6; ++i) word(0, 4);
  colour[static_cast<std::size_t>(number) % 3] ^= static_cast<unsigned char>(number);
  for (int i = 0; i < 256; ++i) file.append(reinterpret_cast<const char*>(colour.data()), 3);
  std::ofstream(path, std::ios::binary) << file;
}

class DataTest : public testing::Test {
 protected:
  DataTest() : folder_(fresh_folder("data")) {}

  Outcome import_pictures(const std::string& name, const std::vector<std::string>& classes) {
    for (const std::string& colour : classes) {
      for (int i = 0; i < 8; ++i) {
        write_picture(folder_ / name / colour / (std::to_string(i) + ".bmp"),
                      kColours.contains(colour) ? kColours.at(colour) : Colour{}, i);
      }
    }
    return run(kiln({"data", "import", "images", (folder_ / name).string(), "--out",
                     (folder_ / (name + "-set")).string(), "--json"}));
  }
  void expect_error(const Outcome& outcome, int exit_code, const std::string& text) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(text));
  }
  const fs::path folder_;
};

TEST_F(DataTest, AnImportEndsWithATableOfWhatItTook) {
  fs::create_directories(folder_ / "in/green");
  fs::create_directories(folder_ / "in/.git");
  std::ofstream(folder_ / "in/README.md") << "x";
  const Outcome outcome = import_pictures("in", {"blue", "red"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.json().at("classes"), nlohmann::json({{"blue", 8}, {"green", 0}, {"red", 8}}));
  EXPECT_EQ(outcome.json().at("left_out"),
            nlohmann::json({{"hidden", 1}, {"no picture by its ending (.md)", 1}}));
  EXPECT_THAT(outcome.out, HasSubstr("green   (no sample)"));
  EXPECT_THAT(outcome.out, HasSubstr("left out 1: hidden"));
  const Outcome info = run(kiln({"data", "info", (folder_ / "in-set").string(), "--json"}));
  EXPECT_THAT(info.out, HasSubstr("red"));
  EXPECT_EQ(info.json().at("class_counts"), outcome.json().at("classes"));
}

TEST_F(DataTest, EvaluationsCompareClassesByTheirNames) {
  ASSERT_EQ(import_pictures("train", {"blue", "green", "red"}).exit_code, 0);
  ASSERT_EQ(import_pictures("test", {"blue", "red"}).exit_code, 0);
  ASSERT_EQ(import_pictures("other", {"blue", "pink"}).exit_code, 0);
  const std::string data = "data.path=" + (folder_ / "train-set").string();
  const Outcome trained = run(
      train(0, folder_ / "run",
            {data, "train.epochs=10", "data.size=16", "data.crop=center", "checkpoint.every=1"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const auto knn = [&](const std::string& name) {
    return run(kiln({"eval", "knn", (folder_ / "run").string(), "eval.k=3",
                     "eval.train_path=" + (folder_ / "train-set").string(),
                     "eval.path=" + (folder_ / name).string(), "--json"}));
  };
  const Outcome outcome = knn("test-set");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.json().at("accuracy"), 1.0);
  EXPECT_THAT(outcome.err, HasSubstr("numbered by their names as in eval.train_path"));
  expect_error(knn("other-set"), 3, "does not know: pink. It knows: blue, green, red");
}

TEST_F(DataTest, AFullDiskEndsAnImportWithOneError) {
  const fs::path disk = folder_ / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=100k") != 0) {
    GTEST_SKIP() << "a small file system cannot be mounted here: " << std::strerror(errno);
  }
  const Outcome outcome = run(kiln({"data", "import", "hdf5", tiny_images().string(), "--out",
                                    (disk / "out").string(), "--shard-mb", "1"}));
  const Outcome pictures = import_pictures("in", {"blue"});
  EXPECT_EQ(pictures.exit_code, 0);
  EXPECT_FALSE(fs::exists(disk / "out/dataset.json"));
  ::umount(disk.c_str());
  expect_error(outcome, 3, "No space left on device");
}

TEST_F(DataTest, ALimitOnTheSizeOfFilesIsAnError) {
  const std::vector<std::string> words =
      kiln({"data", "import", "hdf5", tiny_images().string(), "--out", (folder_ / "out").string()});
  std::string command = "ulimit -f 8;";
  for (const std::string& word : words) command += " '" + word + "'";
  expect_error(run({"bash", "-c", command}), 3, "File too large");
  EXPECT_FALSE(fs::exists(folder_ / "out/dataset.json"));
}

TEST_F(DataTest, WhatIsNotMeantIsRefusedWithOneLine) {
  std::ofstream(folder_ / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncat \n";
  std::ofstream(folder_ / "text.txt") << "cat";
  std::ofstream(folder_ / "picture.txt", std::ios::binary) << "\xFF\xD8\xFF\xE0 a picture";
  const std::string out = (folder_ / "out").string(), vocabulary = (folder_ / "vocab.txt").string();
  const std::string text = (folder_ / "text.txt").string();
  const std::string picture = (folder_ / "picture.txt").string();
  const std::vector<std::tuple<std::vector<std::string>, int, std::string>> cases = {
      {{"tokenizer", "encode", text, "--vocab", vocabulary}, 3, "line 6: 'cat '"},
      {{"tokenizer", "train", picture, "--out", out}, 3, "is a JPEG picture, not text"},
      {{"tokenizer", "train", text, "--out", out, "--max-words", "0"}, 2, "max-words"},
      {{"data", "import", "idx", picture, "--out", out}, 3, "is not an idx file"},
      {{"data", "import", "webdataset", picture, "--out", out}, 3, "not an uncompressed tar"},
      {{"data", "import", "images", text, "--out", out}, 3, "is not a folder"},
      {{"data", "import", "hdf5", text, "--field", "image=/x", "--out", out}, 3, "text.txt"},
      {{"data", "import", "hdf5", text, "--field", "lable=/x", "--out", out}, 2, "'label'"},
      {{"data", "import", "images", "/no/such", "--out", out}, 3, "/no/such"},
      {{"data", "import", "hdf5", text, "--shard-mb", "99999999999", "--out", out}, 2, "shard-mb"}};
  for (const auto& [words, code, part] : cases) {
    const Outcome outcome = run(kiln(words));
    expect_error(outcome, code, part);
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  }
}

}  // namespace
}  // namespace kiln::test
