#include "core/checkpoint/checkpoint_reader.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <set>

#include "tests/support/checkpoints.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& found : fs::directory_iterator(folder)) files.push_back(found.path());
  std::sort(files.begin(), files.end());
  return files;
}

/// Two checkpoints, the newer of which a test damages.
class CheckpointReaderTest : public testing::Test {
 protected:
  void SetUp() override { save_steps(run_.path(), {1, 2}, 2); }
  fs::path newer() const { return checkpoint_folder(run_.path(), 2); }

  void expect_passed_over(const fs::path& damaged) {
    const NewestCheckpoint newest = find_newest_checkpoint(run_.path());
    ASSERT_TRUE(newest.reader) << damaged;
    EXPECT_EQ(newest.reader->step(), 1) << damaged;
    expect_sample_state(*newest.reader);
    ASSERT_EQ(newest.passed_over.size(), 1u);
    EXPECT_EQ(newest.passed_over[0].folder, newer());
    EXPECT_THAT(newest.passed_over[0].reason, HasSubstr("step-000000002"));
  }

  TemporaryFolder run_;
};

TEST_F(CheckpointReaderTest, TakesTheNewest) {
  const NewestCheckpoint newest = find_newest_checkpoint(run_.path());
  ASSERT_TRUE(newest.reader);
  EXPECT_EQ(newest.reader->step(), 2);
}

TEST_F(CheckpointReaderTest, PassesOverAFlippedBitInAnyFile) {
  for (const fs::path& path : files_of(newer())) {
    const std::string whole = read_text_file(path);
    for (const std::size_t at : {std::size_t{0}, whole.size() / 2, whole.size() - 1}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 4);
      write_bytes(path, damaged);
      expect_passed_over(path);
    }
    write_bytes(path, whole);
  }
  EXPECT_EQ(find_newest_checkpoint(run_.path()).reader->step(), 2);
}

TEST_F(CheckpointReaderTest, PassesOverACutLongerOrMissingFile) {
  for (const fs::path& path : files_of(newer())) {
    const std::string whole = read_text_file(path);
    for (const std::string& damaged :
         {std::string(), whole.substr(0, whole.size() - 1), whole + '\0'}) {
      write_bytes(path, damaged);
      expect_passed_over(path);
    }
    fs::remove(path);
    expect_passed_over(path);
    write_bytes(path, whole);
  }
}

TEST_F(CheckpointReaderTest, RefusesToStartOverWhenNoneIsValid) {
  for (const std::int64_t step : {1, 2})
    fs::resize_file(checkpoint_folder(run_.path(), step) / "weights-00000.safetensors", 9);
  EXPECT_THAT(
      [&] { find_newest_checkpoint(run_.path()); },
      ThrowsMessage<Error>(testing::AllOf(HasSubstr("none of the 2 checkpoints"),
                                          HasSubstr("step-000000001"), HasSubstr("has 9 bytes"))));
}

TEST_F(CheckpointReaderTest, RefusesANewerFormat) {
  CheckpointManifest manifest = CheckpointReader(newer()).manifest();
  const std::string text = manifest.to_text();
  EXPECT_NO_THROW(CheckpointManifest::parse(text, "m"));
  EXPECT_THAT([&] { CheckpointManifest::parse(text + " ", "m"); },
              ThrowsMessage<Error>(HasSubstr("does not match its own hash")));
}

TEST_F(CheckpointReaderTest, NamesAMissingTensorAndABadRange) {
  const CheckpointReader reader(newer());
  EXPECT_THAT([&] { reader.read("x"); }, ThrowsMessage<Error>(HasSubstr("no tensor 'x'")));
  EXPECT_THAT(
      [&] {
        reader.read("encoder.bias", {0, 8});
      },
      ThrowsMessage<Error>(HasSubstr("has 7 elements, 0 to 8")));
}

TEST_F(CheckpointReaderTest, OpensARunOrACheckpoint) {
  EXPECT_EQ(open_checkpoint(run_.path()).step(), 2);
  EXPECT_EQ(open_checkpoint(checkpoint_folder(run_.path(), 1)).step(), 1);
  EXPECT_THAT([&] { open_checkpoint(run_ / "nowhere"); },
              ThrowsMessage<Error>(HasSubstr("there is no folder")));
  EXPECT_THAT([&] { open_checkpoint(run_ / "checkpoints"); },
              ThrowsMessage<Error>(HasSubstr("has no manifest.json")));
}

TEST_F(CheckpointReaderTest, RandomDamageIsNeverLoaded) {
  std::vector<fs::path> files = files_of(newer());
  for (const fs::path& path : files_of(checkpoint_folder(run_.path(), 1))) files.push_back(path);
  std::vector<std::string> contents;
  for (const fs::path& path : files) contents.push_back(read_text_file(path));

  std::mt19937_64 random(6);
  int num_refused = 0, num_fallen_back = 0;
  for (int round = 0; round < 1000; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    std::set<std::size_t> hit;
    for (std::size_t count = 1 + random() % 2; count > 0; --count) {
      const std::size_t index = random() % files.size();
      if (!hit.insert(index).second) continue;
      std::string damaged = contents[index];
      if (random() % 2 == 0) {
        damaged.resize(random() % damaged.size());
      } else {
        const std::size_t at = random() % damaged.size();
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
      }
      write_bytes(files[index], damaged);
    }
    try {
      const NewestCheckpoint newest = find_newest_checkpoint(run_.path());
      ASSERT_TRUE(newest.reader);
      for (const std::size_t index : hit)
        EXPECT_NE(files[index].parent_path(), newest.reader->folder());
      expect_sample_state(*newest.reader);
      num_fallen_back += newest.reader->step() == 1;
    } catch (const Error& error) {
      ++num_refused;
      EXPECT_THAT(error.what(), HasSubstr("none of the 2 checkpoints"));
    }
    for (const std::size_t index : hit) write_bytes(files[index], contents[index]);
  }
  EXPECT_GT(num_refused, 50);
  EXPECT_GT(num_fallen_back, 300);
}

}  // namespace
}  // namespace kiln
