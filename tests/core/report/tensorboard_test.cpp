#include "core/report/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kiln {
namespace {

TEST(TensorBoard, Crc32cMatchesTheStandardCheckValue) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
}

// Frames are self-checking: length, its checksum, data, its checksum, until the file ends exactly.
TEST(TensorBoard, WritesWholeRecords) {
  const auto folder = std::filesystem::temp_directory_path() / "kiln_tensorboard_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  {
    TensorBoardWriter writer(folder);
    writer.scalars(7, {{"loss", 0.5}, {"lr", 1e-3}});
    writer.picture(7, "samples", 2, 3, "not really a png");
  }
  const auto path = std::filesystem::directory_iterator(folder)->path();
  EXPECT_EQ(path.filename().string().rfind("events.out.tfevents.", 0), 0u);
  std::ostringstream stream;
  stream << std::ifstream(path).rdbuf();
  const std::string bytes = stream.str();
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    ASSERT_LE(at + 16 + length, bytes.size());
    records.push_back(bytes.substr(at + 12, length));
    at += 16 + length;
  }
  ASSERT_EQ(records.size(), 3u);
  EXPECT_NE(records[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(records[1].find("loss"), std::string::npos);
  EXPECT_NE(records[2].find("not really a png"), std::string::npos);
}

}  // namespace
}  // namespace kiln
