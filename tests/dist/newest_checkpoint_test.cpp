#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "core/checkpoint/checkpoint_reader.h"
#include "dist/thread_communicator.h"
#include "tests/support/checkpoints.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// What each rank got, in order of ranks; get() throws what that rank threw. `run_dir(rank)` is the
/// folder as the rank sees it.
template <typename RunDir>
std::vector<std::future<NewestCheckpoint>> find_on_ranks(int ranks, RunDir run_dir) {
  auto communicators = make_thread_communicators(ranks, std::chrono::seconds(30));
  std::vector<std::future<NewestCheckpoint>> results;
  for (int rank = 0; rank < ranks; ++rank)
    results.push_back(std::async(
        std::launch::async,
        [path = run_dir(rank), communicator = std::shared_ptr<Communicator>(
                                   std::move(communicators[static_cast<std::size_t>(rank)]))] {
          return find_newest_checkpoint(path, *communicator);
        }));
  for (auto& result : results) result.wait();
  return results;
}

class NewestCheckpointTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { save_steps(run_.path(), {1, 2}, 3); }
  void damage(std::int64_t step, const char* file) {
    const auto path = checkpoint_folder(run_.path(), step) / file;
    std::string bytes = read_text_file(path);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_file_atomically(posix_file_system(), path, bytes);
  }
  auto find() {
    return find_on_ranks(GetParam(), [&](int) { return run_.path(); });
  }
  TemporaryFolder run_;
};

TEST_P(NewestCheckpointTest, AllRanksPassOverWhatOneFindsDamaged) {
  for (const char* file : {"weights-00000.safetensors", "weights-00001.safetensors",
                           "optimizer-00002.safetensors", "manifest.json"}) {
    damage(2, file);
    for (auto& result : find()) {
      const NewestCheckpoint newest = result.get();
      ASSERT_TRUE(newest.reader);
      EXPECT_EQ(newest.reader->step(), 1);
      expect_sample_state(*newest.reader);
      ASSERT_EQ(newest.passed_over.size(), 1u);
      EXPECT_THAT(newest.passed_over[0].reason, AllOf(HasSubstr(file), HasSubstr("damaged")));
    }
    damage(2, file);
  }
  for (auto& result : find()) EXPECT_EQ(result.get().reader->step(), 2);
}

TEST_P(NewestCheckpointTest, AllRanksRefuseWhenNoneIsValid) {
  damage(1, "weights-00000.safetensors");
  damage(2, "weights-00001.safetensors");
  for (auto& result : find())
    EXPECT_THAT([&] { result.get(); },
                ThrowsMessage<Error>(HasSubstr("none of the 2 checkpoints")));
}

TEST_P(NewestCheckpointTest, ANewRunHasNone) {
  const TemporaryFolder empty;
  for (auto& result : find_on_ranks(GetParam(), [&](int) { return empty.path(); }))
    EXPECT_FALSE(result.get().reader);
}

INSTANTIATE_TEST_SUITE_P(Ranks, NewestCheckpointTest, testing::Values(1, 2, 4));

TEST(NewestCheckpoint, RefusesARunFolderThatIsNotShared) {
  const TemporaryFolder shared, local;
  save_steps(shared.path(), {1}, 2);
  for (auto& result :
       find_on_ranks(2, [&](int rank) { return rank == 0 ? shared.path() : local.path(); }))
    EXPECT_THAT([&] { result.get(); },
                ThrowsMessage<Error>(HasSubstr("not a finished checkpoint")));
}

}  // namespace
}  // namespace kiln
