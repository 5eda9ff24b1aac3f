#include "core/schedule/value_schedules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/base/error.h"

namespace kiln {
namespace {

const ValueSchedules::Run kRun{
    .total_samples = 10'000, .samples_per_epoch = 1'000, .global_batch = 100};

double value(const ValueScheduleOptions& options, std::int64_t samples_seen) {
  return ValueSchedules({{"x", options}}, {}, kRun).at(samples_seen).at("x");
}

// DINO's teacher momentum, 0.996 to 1 (arXiv:2104.14294).
TEST(ValueSchedules, CosineSpansTheRun) {
  const ValueScheduleOptions options{.name = "cosine", .start = 0.996, .end = 1.0};
  EXPECT_DOUBLE_EQ(value(options, 0), 0.996);
  EXPECT_DOUBLE_EQ(value(options, 5'000), 0.998);
  EXPECT_NEAR(value(options, 2'500), 1.0 - 0.002 * (1 + std::cos(std::numbers::pi / 4)), 1e-15);
  EXPECT_DOUBLE_EQ(value(options, 10'000), 1.0);
}

TEST(ValueSchedules, LinearEndsWithItsDuration) {
  const ValueScheduleOptions options{
      .name = "linear", .start = 2.0, .end = 1.0, .duration_steps = 20.0};
  EXPECT_DOUBLE_EQ(value(options, 500), 1.75);
  EXPECT_DOUBLE_EQ(value(options, 2'000), 1.0);
  EXPECT_DOUBLE_EQ(value(options, 9'000), 1.0);
}

TEST(ValueSchedules, WarmUpComesFirst) {
  const ValueScheduleOptions options{
      .name = "linear", .start = 1.0, .end = 0.0, .warmup_from = 0.5, .warmup_epochs = 2.0};
  EXPECT_DOUBLE_EQ(value(options, 0), 0.5);
  EXPECT_DOUBLE_EQ(value(options, 1'000), 0.75);
  EXPECT_DOUBLE_EQ(value(options, 2'000), 1.0);
  EXPECT_DOUBLE_EQ(value(options, 6'000), 0.5);
}

// DINO's teacher temperature: one value for each pass, the last of them reached in the fourth.
TEST(ValueSchedules, StairsChangeWhereAPassBegins) {
  const ValueScheduleOptions options{
      .name = "linear", .start = 0.04, .end = 0.07, .duration_epochs = 3.0, .per_epoch = true};
  EXPECT_DOUBLE_EQ(value(options, 999), 0.04);
  EXPECT_DOUBLE_EQ(value(options, 1'999), 0.05);
  EXPECT_DOUBLE_EQ(value(options, 2'000), 0.06);
  EXPECT_DOUBLE_EQ(value(options, 3'000), 0.07);
  EXPECT_DOUBLE_EQ(value(options, 8'000), 0.07);
}

TEST(ValueSchedules, RecipeTakesThePlaceOfWhatTheObjectiveDeclares) {
  const ValueSchedules schedules({{"a", {.start = 1.0}}, {"b", {.start = 2.0}}},
                                 {{"b", {.start = 3.0}}, {"weight_decay", {.start = 4.0}}}, kRun);
  const std::map<std::string, double> expected = {{"a", 1.0}, {"b", 3.0}, {"weight_decay", 4.0}};
  EXPECT_EQ(schedules.at(0), expected);
}

TEST(ValueSchedules, RefuseWhatContradictsItself) {
  EXPECT_THROW(value({.name = "linear", .start = 1.0}, 0), Error) << "no end";
  EXPECT_THROW(value({.name = "cosin", .start = 1.0}, 0), Error);
  EXPECT_THROW(value({.start = 1.0, .warmup_steps = 1.0, .warmup_epochs = 1.0}, 0), Error);
  EXPECT_THROW(value({.name = "linear",
                      .start = 1.0,
                      .end = 0.0,
                      .warmup_epochs = 2.0,
                      .duration_epochs = 1.0},
                     0),
               Error);
}

}  // namespace
}  // namespace kiln
