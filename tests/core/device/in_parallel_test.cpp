#include "core/device/in_parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/torch.h"

namespace kiln {
namespace {

class InParallel : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(3); }
  void TearDown() override { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

TEST_F(InParallel, RunsOnAllThreadsAtOnce) {
  std::atomic<int> present = 0;
  std::atomic<bool> have_met = true;
  in_parallel(3, 1, [&](std::int64_t, std::int64_t) {
    ++present;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (present < 3 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (present < 3) have_met = false;
  });
  EXPECT_TRUE(have_met) << present << " of 3";
}

TEST_F(InParallel, CoversEveryElementOnce) {
  for (const std::int64_t count : {0, 1, 2, 3, 4, 7, 1000}) {
    for (const std::int64_t grain : {1, 2, 3, 300, 2000}) {
      std::vector<int> calls(static_cast<std::size_t>(count));
      in_parallel(count, grain, [&](std::int64_t begin, std::int64_t end) {
        EXPECT_TRUE(end - begin >= grain || end == count) << count << " by " << grain;
        for (std::int64_t i = begin; i < end; ++i) ++calls[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(count), 1));
    }
  }
}

TEST_F(InParallel, StaysOnItsThreadWithinACall) {
  in_parallel(3, 1, [](std::int64_t, std::int64_t) {
    const auto mine = std::this_thread::get_id();
    in_parallel(3, 1, [&](std::int64_t begin, std::int64_t end) {
      EXPECT_EQ(std::this_thread::get_id(), mine);
      EXPECT_EQ(end - begin, 3);
    });
  });
}

TEST_F(InParallel, RethrowsAFailureOfAnyThread) {
  EXPECT_THROW(in_parallel(3, 1,
                           [](std::int64_t, std::int64_t end) {
                             if (end == 3) throw std::runtime_error("third");
                           }),
               std::runtime_error);
}

}  // namespace
}  // namespace kiln
