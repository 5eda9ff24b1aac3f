#include "core/report/metrics_log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

namespace kiln {
namespace {

std::vector<nlohmann::json> lines_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

class MetricsLogTest : public testing::Test {
 protected:
  MetricsLogTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  MetricsLog::Options options(std::int64_t first_step) {
    return {.run_folder = folder_, .total_samples = 100, .first_step = first_step};
  }
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / "kiln_metrics_test";
};

TEST_F(MetricsLogTest, WritesALineAReport) {
  MetricsLog log(options(0));
  log.report({.step = 1, .samples = 8, .loss = 0.5, .metrics = {{"masked", 2.0}}, .lr = 1e-3});
  log.evaluation(1, {{"knn_accuracy", 0.75}});
  const auto lines = lines_of(folder_ / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_EQ(lines[0]["loss"], 0.5);
  EXPECT_EQ(lines[0]["masked"], 2.0);
  EXPECT_EQ(lines[1]["eval/knn_accuracy"], 0.75);
}

TEST_F(MetricsLogTest, AResumeDropsTheStepsItWillDoAgain) {
  {
    MetricsLog log(options(0));
    for (int step = 1; step <= 5; ++step) log.report({.step = step, .loss = 1.0});
  }
  std::ofstream(folder_ / "metrics.jsonl", std::ios::app)
      << R"({"step": 6, "lo)";  // torn by a crash
  {
    MetricsLog log(options(3));
    log.report({.step = 4, .loss = 2.0});
  }
  const auto lines = lines_of(folder_ / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2]["step"], 3);
  EXPECT_EQ(lines[3]["loss"], 2.0);
}

TEST_F(MetricsLogTest, StaysValidJsonWhenTheLossIsNot) {
  MetricsLog log(options(0));
  log.report({.step = 1, .loss = std::numeric_limits<double>::quiet_NaN()});
  EXPECT_TRUE(lines_of(folder_ / "metrics.jsonl")[0]["loss"].is_null());
}

}  // namespace
}  // namespace kiln
