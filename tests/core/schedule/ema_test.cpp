#include "core/schedule/ema.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace kiln {
namespace {

TEST(EmaSchedule, IsConstantByDefault) {
  const EmaSchedule schedule({.decay = 0.9999}, 64);
  EXPECT_TRUE(schedule.is_on());
  EXPECT_EQ(schedule.decay(1, 0), 0.9999);
  EXPECT_EQ(schedule.decay(1'000'000, 64'000'000), 0.9999);
  EXPECT_FALSE(EmaSchedule(EmaOptions{}, 64).is_on());
}

TEST(EmaSchedule, WarmsUpAsLitEmaDoes) {
  const EmaSchedule schedule({.decay = 0.9999, .warmup = true}, 64);
  EXPECT_NEAR(schedule.decay(1, 0), 0.1818, 5e-5);
  EXPECT_EQ(schedule.decay(10, 0), 0.55);
  EXPECT_NEAR(schedule.decay(100, 0), 0.91818, 5e-6);
  EXPECT_NEAR(schedule.decay(1000, 0), 0.99109, 5e-6);
  EXPECT_EQ(schedule.decay(1'000'000, 0), 0.9999);
}

TEST(EmaSchedule, HalfLifeIsInSamples) {
  const EmaSchedule schedule({.half_life_samples = 500'000}, 512);
  EXPECT_NEAR(schedule.decay(1, 0), 0.99929047, 5e-9);
}

TEST(EmaSchedule, RampShortensTheHalfLifeAtFirst) {
  const EmaSchedule schedule({.half_life_samples = 500'000, .ramp = 0.05}, 512);
  EXPECT_EQ(schedule.decay(1, 0), 0.0);  // a copy
  EXPECT_EQ(schedule.decay(21, 10'240), 0.5);
  EXPECT_NEAR(schedule.decay(1'000'000, 512'000'000), 0.99929047, 5e-9);
}

TEST(EmaSchedule, RefusesContradictions) {
  EXPECT_THROW(EmaSchedule({.decay = 0.9, .half_life_samples = 100}, 1), Error);
  EXPECT_THROW(EmaSchedule({.decay = 1.0}, 1), Error);
  EXPECT_THROW(EmaSchedule({.decay = 0.9, .ramp = 0.05}, 1), Error);
}

}  // namespace
}  // namespace kiln
