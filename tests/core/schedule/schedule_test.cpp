#include "core/schedule/schedule.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace kiln {
namespace {

// MAE's published recipe: 1.5e-4 per 256, batch 4096, 40 of 800 epochs of warm-up.
TEST(Schedule, CosineMatchesMae) {
  const std::int64_t epoch = 1'281'167;
  ScheduleOptions options{.name = "cosine", .warmup_epochs = 40.0};
  const Schedule schedule(options, 1.5e-4 * 4096 / 256, 800 * epoch, epoch, 4096);
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.0);
  EXPECT_NEAR(schedule.at(20 * epoch), 1.2e-3, 1e-15);
  EXPECT_NEAR(schedule.at(40 * epoch), 2.4e-3, 1e-15);
  EXPECT_NEAR(schedule.at(420 * epoch), 1.2e-3, 1e-15);
  EXPECT_NEAR(schedule.at(799 * epoch), 1.0252e-8, 1e-12);
}

// Google's BERT counts the decay from step 0, which makes the rate jump where the warm-up ends.
TEST(Schedule, LinearMatchesBert) {
  ScheduleOptions options{.name = "linear", .warmup_steps = 10'000.0};
  const Schedule schedule(options, 1e-4, 256'000'000, 1, 256);
  EXPECT_NEAR(schedule.at(9'999 * 256), 9.999e-5, 1e-18);
  EXPECT_NEAR(schedule.at(10'000 * 256), 9.9e-5, 1e-18);
  EXPECT_DOUBLE_EQ(schedule.at(256'000'000), 0.0);
}

TEST(Schedule, LinearAfterWarmupStartsFromThePeak) {
  ScheduleOptions options{.name = "linear_after_warmup", .warmup_samples = 100.0};
  const Schedule schedule(options, 1.0, 1100, 1, 1);
  EXPECT_DOUBLE_EQ(schedule.at(100), 1.0);
  EXPECT_DOUBLE_EQ(schedule.at(600), 0.5);
}

TEST(Schedule, WarmupMayStartAboveZero) {
  ScheduleOptions options{.name = "constant", .warmup_samples = 10.0, .warmup_start = 0.5};
  const Schedule schedule(options, 2.0, 100, 1, 1);
  EXPECT_DOUBLE_EQ(schedule.at(0), 1.0);
  EXPECT_DOUBLE_EQ(schedule.at(5), 1.5);
  EXPECT_DOUBLE_EQ(schedule.at(50), 2.0);
}

TEST(Schedule, RefusesAWarmupGivenTwiceOrTooLong) {
  EXPECT_THROW(Schedule({.warmup_samples = 1.0, .warmup_steps = 1.0}, 1, 10, 1, 1), Error);
  EXPECT_THROW(Schedule({.warmup_samples = 11.0}, 1, 10, 1, 1), Error);
}

}  // namespace
}  // namespace kiln
