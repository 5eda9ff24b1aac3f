#include "core/report/progress_bar.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

TEST(Format, Durations) {
  EXPECT_EQ(format_duration(0.45), "450 ms");
  EXPECT_EQ(format_duration(12.34), "12.3 s");
  EXPECT_EQ(format_duration(187), "3 min 07 s");
  EXPECT_EQ(format_duration(3600 + 120), "1 h 02 min");
}

TEST(Format, Bytes) {
  EXPECT_EQ(format_bytes(900), "900 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(5.0 * 1024 * 1024 * 1024), "5.0 GiB");
}

TEST(Format, Counts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
  EXPECT_EQ(format_count(1, "shard"), "1 shard");
  EXPECT_EQ(format_count(2000, "shard"), "2,000 shards");
}

}  // namespace
}  // namespace kiln
