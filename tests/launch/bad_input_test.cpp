// Every mistake of a user or fault of the surroundings is one clear error, printed once, with the
// right exit status, and nothing that was saved is harmed.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using testing::HasSubstr;

int count(const std::string& text, const std::string& what) {
  int found = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

class BadInput : public testing::Test {
 protected:
  BadInput() : folder_(fresh_folder("bad_input")), run_dir_(folder_ / "run") {}

  void expect_error(const Outcome& outcome, int exit_code, const std::string& text) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(text));
    EXPECT_EQ(count(outcome.err, "error:"), 1) << outcome.err;
  }
  Outcome train_tiny(int ranks, const std::vector<std::string>& overrides) {
    return run(train(ranks, run_dir_, overrides));
  }

  const std::filesystem::path folder_;
  const std::filesystem::path run_dir_;
};

TEST_F(BadInput, UnknownKeyOffersTheNearestName) {
  expect_error(train_tiny(2, {"train.global_bacth=8"}), 2, "did you mean 'global_batch'?");
}

TEST_F(BadInput, UnknownModelKeyOffersTheNearestName) {
  expect_error(train_tiny(2, {"model.mask_ration=0.5"}), 2, "did you mean 'mask_ratio'?");
}

TEST_F(BadInput, WrongTypeIsNamed) {
  expect_error(train_tiny(2, {"train.global_batch=many"}), 2, "should be an integer");
}

TEST_F(BadInput, SeveralMistakesAreReportedTogether) {
  const Outcome outcome =
      train_tiny(2, {"train.global_bacth=8", "run.device=tpu", "model.patch=5"});
  expect_error(outcome, 2, "global_bacth");
  EXPECT_THAT(outcome.err, HasSubstr("tpu"));
  EXPECT_THAT(outcome.err, HasSubstr("patch"));
}

TEST_F(BadInput, GlobalBatchThatMicroBatchesDoNotFill) {
  expect_error(train_tiny(2, {"train.micro_batch=5"}), 2,
               "is not a multiple of train.micro_batch = 5");
}

TEST_F(BadInput, MissingRecipe) {
  expect_error(run(mpirun(2, kiln({"train", "no_such.toml"}))), 2, "no_such.toml");
}

TEST_F(BadInput, MissingDataset) {
  expect_error(train_tiny(2, {"data.path=/no/such/dataset"}), 3, "/no/such/dataset");
}

TEST_F(BadInput, MoreRanksThanMicroBatches) {
  expect_error(train_tiny(3, {"train.global_batch=8"}), 2, "micro-batches");
}

TEST_F(BadInput, ImageTooSmallForThePatch) {
  expect_error(train_tiny(1, {"model.patch=32"}), 2, "patch");
}

TEST_F(BadInput, RangeOfOneNumber) {
  expect_error(train_tiny(1, {"data.crop_scale=[0.5]"}), 2, "data.crop_scale");
}

TEST_F(BadInput, RanksWithDifferentRecipes) {
  std::vector<std::string> words = train(1, run_dir_);
  for (const char* word : {":", "-np", "1"}) words.push_back(word);
  for (const std::string& word : train(0, run_dir_, {"optimizer.lr=2e-3"})) words.push_back(word);
  expect_error(run(words), 2, "recipe");
  EXPECT_FALSE(std::filesystem::exists(run_dir_));
}

TEST_F(BadInput, RanksWithDifferentPrograms) {
  const auto other = folder_ / "kiln";
  std::filesystem::copy_file(kiln({})[0], other);
  std::ofstream(other, std::ios::app) << "another build";
  std::vector<std::string> words = train(1, run_dir_);
  for (const char* word : {":", "-np", "1"}) words.push_back(word);
  std::vector<std::string> second = train(0, run_dir_);
  second[0] = other.string();
  words.insert(words.end(), second.begin(), second.end());
  const Outcome outcome = run(words);
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_EQ(count(outcome.err, "error:"), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("program"));
}

/// A file system of a few megabytes that a run can fill.
class FullDisk : public BadInput {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(disk_);
    if (::mount("tmpfs", disk_.c_str(), "tmpfs", 0, "size=6m") != 0) {
      GTEST_SKIP() << "a small file system cannot be mounted here: " << std::strerror(errno);
    }
  }
  void TearDown() override { ::umount2(disk_.c_str(), MNT_DETACH); }
  void fill(std::uintmax_t bytes_left) {
    const auto free = std::filesystem::space(disk_).available;
    std::ofstream(disk_ / "filler") << std::string(free - bytes_left, 'x');
  }
  const std::filesystem::path disk_ = folder_ / "disk";
};

TEST_F(FullDisk, AtTheSaveCostsThatSaveAlone) {
  const auto on_disk = [&](int steps) {
    return run(
        train(2, disk_ / "run", {"checkpoint.every=5", fmt::format("train.stop_after={}", steps)}));
  };
  ASSERT_EQ(on_disk(5).exit_code, 0);
  fill(std::uintmax_t{1} << 20);
  expect_error(on_disk(10), 4, "no room");
  const Outcome verified = run(kiln({"checkpoint", "verify", (disk_ / "run").string()}));
  EXPECT_EQ(verified.exit_code, 0) << verified.err;
  std::filesystem::remove(disk_ / "filler");
  const Outcome resumed = on_disk(10);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(losses(disk_ / "run").size(), 10u);
}

TEST_F(FullDisk, AtTheStartIsSaidBeforeTraining) {
  fill(std::uintmax_t{96} << 10);
  expect_error(run(train(2, disk_ / "run", {})), 4, "no room for a single checkpoint");
}

class DamagedDataset : public BadInput {
 protected:
  DamagedDataset() : dataset_(folder_ / "dataset") {
    std::filesystem::copy(tiny_images(), dataset_, std::filesystem::copy_options::recursive);
    for (const auto& entry : std::filesystem::directory_iterator(dataset_)) {
      if (entry.path().extension() == ".h5") shard_ = entry.path();
    }
  }
  const std::filesystem::path dataset_;
  std::filesystem::path shard_;
};

TEST_F(DamagedDataset, TruncatedShardIsNamed) {
  std::filesystem::resize_file(shard_, std::filesystem::file_size(shard_) / 2);
  expect_error(train_tiny(2, {"data.path=" + dataset_.string()}), 3, shard_.filename().string());
}

TEST_F(DamagedDataset, FlippedByteIsFoundByVerify) {
  {
    std::fstream file(shard_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(std::filesystem::file_size(shard_) / 2));
    const char byte = static_cast<char>(file.peek());
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(shard_) / 2));
    file.put(static_cast<char>(byte ^ 0x10));
  }
  const Outcome outcome = run(kiln({"data", "verify", dataset_.string()}));
  expect_error(outcome, 3, shard_.filename().string());
  EXPECT_THAT(outcome.err, HasSubstr("image"));
}

TEST_F(BadInput, IdxFilesWithDifferentCounts) {
  const std::string header = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2};
  std::ofstream(folder_ / "images", std::ios::binary) << header << "12345678";
  std::ofstream(folder_ / "labels", std::ios::binary)
      << std::string({0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2});
  expect_error(run(kiln({"data", "import", "idx", (folder_ / "images").string(),
                         (folder_ / "labels").string(), "--out", (folder_ / "out").string()})),
               3, "3");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out" / "dataset.json"));
}

TEST_F(BadInput, RunFolderOfAnotherRecipeIsRefusedByKey) {
  ASSERT_EQ(train_tiny(1, {"train.stop_after=2"}).exit_code, 0);
  expect_error(train_tiny(2, {"train.stop_after=4", "optimizer.weight_decay=0.5"}), 2,
               "optimizer.weight_decay");
  // Named in run.allow_change, it may.
  const Outcome allowed = train_tiny(1, {"train.stop_after=4", "optimizer.weight_decay=0.5",
                                         "run.allow_change=[\"optimizer.weight_decay\"]"});
  EXPECT_EQ(allowed.exit_code, 0) << allowed.err;
}

TEST_F(BadInput, RunFolderThatCannotBeMade) {
  std::ofstream(folder_ / "file") << "in the way";
  expect_error(train_tiny(2, {"run.dir=" + (folder_ / "file" / "run").string()}), 4,
               (folder_ / "file").string());
}

TEST_F(BadInput, DamagedNewestCheckpointIsPassedOver) {
  ASSERT_EQ(train_tiny(2, {"checkpoint.every=5", "train.stop_after=10"}).exit_code, 0);
  const auto newest = run_dir_ / "checkpoints" / "step-000000010" / "weights-00000.safetensors";
  std::filesystem::resize_file(newest, std::filesystem::file_size(newest) - 1);
  const Outcome outcome = train_tiny(2, {"train.stop_after=12"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("step-000000010"));
  EXPECT_EQ(outcome.json()["step"], 12);
  EXPECT_EQ(losses(run_dir_).size(), 12u);
}

}  // namespace
}  // namespace kiln::test
