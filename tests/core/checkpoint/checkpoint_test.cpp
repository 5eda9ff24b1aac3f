#include "core/checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/checkpoint/run_folder.h"
#include "tests/support/checkpoints.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::int64_t> steps_on_disk(const fs::path& run_dir) {
  std::vector<std::int64_t> steps;
  for (const auto& folder : list_checkpoint_folders(run_dir)) steps.push_back(folder.step);
  return steps;
}

TEST(Checkpoint, KeepsEveryBit) {
  const TemporaryFolder run;
  save_steps(run.path(), {7});
  const NewestCheckpoint newest = find_newest_checkpoint(run.path());
  ASSERT_TRUE(newest.reader);
  expect_sample_state(*newest.reader);
  EXPECT_EQ(newest.reader->manifest().identity.at("model.name"), "\"mae\"");
  EXPECT_TRUE(newest.passed_over.empty());
}

TEST(Checkpoint, WrittenByFourIsReadInAnyParts) {
  const TemporaryFolder run;
  save_steps(run.path(), {3}, 4);
  const CheckpointReader reader(checkpoint_folder(run.path(), 3));
  expect_sample_state(reader);
  for (const int ranks : {1, 2, 3, 5}) {
    for (const auto& tensor : sample_tensors()) {
      const at::Tensor flat = tensor.at_step(3).reshape({-1});
      for (int rank = 0; rank < ranks; ++rank) {
        const Range part = share_of(flat.numel(), rank, ranks);
        EXPECT_TRUE(
            at::equal(reader.read(tensor.name, part), flat.narrow(0, part.begin, part.size())));
      }
    }
  }
}

TEST(Checkpoint, WeightsHashDependsOnNeitherRanksNorEmaNorBuffers) {
  const TemporaryFolder run;
  save_steps(run.path() / "a", {3}, 1);
  save_steps(run.path() / "b", {3}, 4);
  std::map<std::string, Digest> digests;
  for (const auto& tensor : sample_tensors()) {
    const at::Tensor value = tensor.at_step(3);
    if (tensor.name.find('/') == std::string::npos)
      digests.emplace(tensor.name, hash_bytes(value.const_data_ptr(), value.nbytes()));
  }
  const std::string expected = weights_hash(digests);
  EXPECT_EQ(CheckpointReader(checkpoint_folder(run.path() / "a", 3)).weights_hash(), expected);
  EXPECT_EQ(CheckpointReader(checkpoint_folder(run.path() / "b", 3)).weights_hash(), expected);
}

TEST(Checkpoint, AsyncSavesTheMomentOfBegin) {
  const TemporaryFolder run;
  auto options = writer_options(run.path());
  options.async = true;
  CheckpointWriter writer(options);
  for (const std::int64_t step : {1, 2}) {
    const CheckpointState state = sample_state(step);
    writer.begin(state);
    writer.wait_for_snapshot();
    for (const auto* pieces : {&state.weights, &state.optimizer})
      for (const Piece& piece : *pieces) piece.data.zero_();  // the loop goes on
    EXPECT_TRUE(writer.is_pending());
    writer.wait();
    ASSERT_TRUE(writer.has_succeeded()) << writer.failure();
    writer.commit();
    EXPECT_FALSE(writer.is_pending());
  }
  writer.wait();
  EXPECT_EQ(writer.failure(), "");
  EXPECT_GT(writer.cost().num_bytes, 0u);
  expect_sample_state(CheckpointReader(checkpoint_folder(run.path(), 1)));
  expect_sample_state(CheckpointReader(checkpoint_folder(run.path(), 2)));
}

TEST(Checkpoint, BuffersMayChangeOnceBeginReturns) {
  const TemporaryFolder run;
  auto options = writer_options(run.path());
  options.async = true;
  CheckpointWriter writer(options);
  CheckpointState state = sample_state(1);
  const at::Tensor buffer = at::full({1 << 22}, 3.0f);
  state.weights.push_back({"buffer/mean", {1 << 22}, {0, 1 << 22}, buffer});
  writer.begin(state);
  buffer.zero_();
  writer.wait();
  ASSERT_TRUE(writer.has_succeeded()) << writer.failure();
  writer.commit();
  writer.wait();
  const CheckpointReader reader(checkpoint_folder(run.path(), 1));
  EXPECT_TRUE(reader.read("buffer/mean").eq(3.0f).all().item<bool>());
}

TEST(Checkpoint, IgnoresUncommittedDirectory) {
  const TemporaryFolder run;
  {
    CheckpointWriter writer(writer_options(run.path()));
    writer.begin(sample_state(5));
    EXPECT_TRUE(writer.has_succeeded());
  }
  EXPECT_TRUE(fs::exists(run / "checkpoints/step-000000005.partial"));
  EXPECT_FALSE(find_newest_checkpoint(run.path()).reader);
}

TEST(Checkpoint, WritesAStepAgain) {
  const TemporaryFolder run;
  save_steps(run.path(), {5}, 3);
  save_steps(run.path(), {5}, 2);
  EXPECT_THAT(steps_on_disk(run.path()), ElementsAre(5));
  const CheckpointReader reader(checkpoint_folder(run.path(), 5));
  EXPECT_EQ(reader.manifest().ranks, 2);
  expect_sample_state(reader);
}

TEST(Checkpoint, RetentionKeepsTheNewestAndEveryNth) {
  const TemporaryFolder run;
  auto options = writer_options(run.path());
  options.keep = 2;
  options.keep_every = 4;
  Savers savers(options, 2);
  for (const std::int64_t step : {2, 4, 6, 8, 10, 12, 14}) ASSERT_TRUE(savers.save(step));
  EXPECT_THAT(steps_on_disk(run.path()), ElementsAre(14, 12, 8, 4));
}

TEST(Checkpoint, RetentionKeepsTheOneJustWrittenWhateverKeepSays) {
  const TemporaryFolder run;
  auto options = writer_options(run.path());
  options.keep = 0;
  Savers savers(options, 1);
  for (const std::int64_t step : {1, 2}) ASSERT_TRUE(savers.save(step));
  EXPECT_THAT(steps_on_disk(run.path()), ElementsAre(2));
}

TEST(Checkpoint, RetentionDoesNotCountDamagedOnes) {
  const TemporaryFolder run;
  save_steps(run.path(), {1, 2, 3});
  fs::resize_file(checkpoint_folder(run.path(), 2) / "weights-00000.safetensors", 3);
  fs::remove(checkpoint_folder(run.path(), 3) / "manifest.json");
  auto options = writer_options(run.path());
  options.keep = 2;
  ASSERT_TRUE(Savers(options, 1).save(4));
  EXPECT_TRUE(is_readable(checkpoint_folder(run.path(), 1)));
}

TEST(Checkpoint, RetentionAfterFallingBackKeepsWhatTheResumeWrote) {
  const TemporaryFolder run;
  save_steps(run.path(), {1, 9});  // 9 is damaged, the run went on from 1
  auto options = writer_options(run.path());
  options.keep = 1;
  ASSERT_TRUE(Savers(options, 1).save(2));
  EXPECT_THAT(steps_on_disk(run.path()), ElementsAre(9, 2));
}

TEST(Checkpoint, OlderAttemptNeverWritesAManifest) {
  const TemporaryFolder run;
  CheckpointWriter writer(writer_options(run.path()));
  writer.begin(sample_state(5));
  ASSERT_TRUE(writer.has_succeeded());
  write_file_atomically(posix_file_system(), run / "attempt", "2\n");
  writer.commit();
  EXPECT_THAT(writer.failure(), HasSubstr("taken over by a newer start (attempt 2, this is 1)"));
  EXPECT_FALSE(find_newest_checkpoint(run.path()).reader);
  EXPECT_FALSE(fs::exists(run / "checkpoints/step-000000005.partial/manifest.json"));
}

TEST(Checkpoint, DoesNotStartToWriteOnAFullDisk) {
  const TemporaryFolder run;
  FaultyFileSystem files;
  Savers savers(writer_options(run.path()), 2, files);
  ASSERT_TRUE(savers.save(1));
  files.set_free_bytes(1000);
  EXPECT_FALSE(savers.save(2));
  EXPECT_THAT(savers.failure(), HasSubstr("no room for a checkpoint"));
  EXPECT_FALSE(fs::exists(run / "checkpoints/step-000000002.partial"));
  files.set_free_bytes(std::uint64_t{1} << 40);
  ASSERT_TRUE(savers.save(3));
  EXPECT_EQ(savers.failure(), "");
  EXPECT_THAT(steps_on_disk(run.path()), ElementsAre(3, 1));
}

TEST(Checkpoint, RanksMustCoverEveryTensor) {
  const TemporaryFolder run;
  CheckpointWriter writer(writer_options(run.path()));
  CheckpointState state = sample_state(1);
  state.weights.front().elements = {0, 30};
  state.weights.front().data = state.weights.front().data.narrow(0, 0, 30);
  writer.begin(state);
  writer.commit();
  EXPECT_THAT(writer.failure(), HasSubstr("tensor 'encoder.weight' ends at element 30 of 35"));
  EXPECT_THAT(steps_on_disk(run.path()), ElementsAre());
}

/// What is on disk before the save under test, and the step it writes.
struct Scenario {
  const char* name;
  std::vector<std::int64_t> before;
  std::int64_t step;
};

class CheckpointFaults : public testing::TestWithParam<Scenario> {
 protected:
  /// Number of operations a save takes; then runs `check(n)` with operation n failed.
  void fail_each_operation(FaultyFileSystem::Fault fault,
                           const std::function<void(const fs::path&, Savers&)>& check) {
    int num_operations = 0;
    for (int fail_at = 0; fail_at == 0 || fail_at <= num_operations; ++fail_at) {
      SCOPED_TRACE(testing::Message() << "operation " << fail_at);
      const TemporaryFolder run;
      save_steps(run.path(), GetParam().before, 3);
      FaultyFileSystem files;
      auto options = writer_options(run.path());
      options.keep = 1;
      Savers savers(options, 2, files);
      files.arm(fail_at == 0 ? FaultyFileSystem::Fault::kNone : fault, fail_at - 1);
      savers.save(GetParam().step);
      if (fail_at == 0) num_operations = files.num_operations();
      if (fault == FaultyFileSystem::Fault::kKill && fail_at > 0) files.power_cut();
      files.arm(FaultyFileSystem::Fault::kNone, 0);
      check(run.path(), savers);
    }
    EXPECT_GT(num_operations, 20);
  }
  void expect_newest_is_old_or_new(const fs::path& run_dir) {
    const NewestCheckpoint newest = find_newest_checkpoint(run_dir);
    if (!newest.reader) {
      EXPECT_TRUE(GetParam().before.empty());
      return;
    }
    expect_sample_state(*newest.reader);
    EXPECT_TRUE(newest.reader->step() == GetParam().step ||
                newest.reader->step() == GetParam().before.back());
  }
};

TEST_P(CheckpointFaults, KilledAtAnyOperationLeavesAValidNewest) {
  fail_each_operation(FaultyFileSystem::Fault::kKill, [&](const fs::path& run_dir, Savers&) {
    expect_newest_is_old_or_new(run_dir);
    const RunFolder next_start = RunFolder::open(run_dir);
    expect_newest_is_old_or_new(run_dir);
    for (const auto& found : fs::directory_iterator(run_dir / "checkpoints"))
      EXPECT_NE(found.path().extension(), ".partial");
  });
}

TEST_P(CheckpointFaults, AnyFailedOperationCostsAtMostThisSave) {
  fail_each_operation(FaultyFileSystem::Fault::kDiskFull,
                      [&](const fs::path& run_dir, Savers& savers) {
                        expect_newest_is_old_or_new(run_dir);
                        if (savers.failure().empty()) {  // then the two ranks' save is there
                          EXPECT_EQ(find_newest_checkpoint(run_dir).reader->manifest().ranks, 2);
                        }
                        EXPECT_TRUE(savers.save(300));
                        EXPECT_EQ(savers.failure(), "");
                        const NewestCheckpoint newest = find_newest_checkpoint(run_dir);
                        ASSERT_TRUE(newest.reader);
                        EXPECT_EQ(newest.reader->step(), 300);
                        EXPECT_TRUE(newest.passed_over.empty());
                        expect_sample_state(*newest.reader);
                      });
}

INSTANTIATE_TEST_SUITE_P(, CheckpointFaults,
                         testing::Values(Scenario{"FirstSave", {}, 100},
                                         Scenario{"LaterSave", {100}, 200},
                                         Scenario{"SameStepAgain", {50, 100}, 100}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace kiln
