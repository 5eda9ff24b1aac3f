#include "launch/report/report.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "launch/report/run_data.h"
#include "launch/report/run_history.h"
#include "launch/report/spread.h"
#include "tests/support/program.h"

namespace kiln {
namespace {

// Has everything that could end the page's script.
const char* const kRecipe = "name = \"</script><!-- a <b>\"\n";

std::filesystem::path small_run() {
  const auto run = test::fresh_folder("report_run");
  std::ofstream(run / "metrics.jsonl")
      << R"({"step":1,"samples":100,"loss":2.0,"samples_per_s":50.0,"data_wait_s":0.5,"comm_wait_s":0.25})"
      << "\n"
      << R"({"step":2,"samples":200,"loss":1.0,"samples_per_s":100.0,"data_wait_s":0.5,"comm_wait_s":0})"
      << "\n"
      << R"({"step":2,"eval/knn_accuracy":0.75})"
      << "\n"
      << R"({"step":3,"samp)";
  std::ofstream(run / "evaluations.jsonl")
      << R"({"evaluation":"knn","of":"untrained","accuracy":0.5})"
      << "\n";
  std::ofstream(run / "recipe.toml") << kRecipe;
  std::filesystem::create_directory(run / "pictures");
  std::ofstream(run / "pictures" / "step-000000012.png") << "PNG!";
  std::ofstream(run / "grid.png") << "PNG?";
  std::filesystem::create_directories(run / "checkpoints" / "step-000000002");
  std::ofstream(run / "checkpoints" / "step-000000002" / "manifest.json") << "{}";
  return run;
}

TEST(RunHistory, SumsTimesAndLeavesOutACutLine) {
  const RunHistory history = read_run_history(small_run());
  EXPECT_EQ(history.last_step, 2);
  EXPECT_EQ(history.last_samples, 200);
  EXPECT_EQ(history.total_s, 3.0);  // 100 / 50 + 100 / 100
  EXPECT_EQ(history.data_wait_s, 1.0);
  EXPECT_EQ(history.comm_wait_s, 0.25);
  EXPECT_EQ(history.curves.at("loss").values, (std::vector<double>{2.0, 1.0}));
  EXPECT_EQ(history.curves.at("eval/knn_accuracy").samples, std::vector<double>{200});
  ASSERT_EQ(history.evaluations.size(), 1u);
  EXPECT_EQ(history.evaluations[0].texts.at("of"), "untrained");
}

TEST(RunHistory, RefusesAFolderThatIsNoRun) {
  EXPECT_THROW(read_run_history(test::fresh_folder("no_run")), Error);
}

/// The JSON inside a page.
nlohmann::json data_of(const std::string& page) {
  const std::string begin = R"(<script id="data" type="application/json">)";
  const std::size_t from = page.find(begin) + begin.size();
  return nlohmann::json::parse(page.substr(from, page.find("</script>", from) - from));
}

TEST(Report, HoldsWhatTheRunSays) {
  const auto run = small_run();
  const auto path = write_report({run});
  EXPECT_EQ(path, std::filesystem::canonical(run) / "report.html");
  const nlohmann::json data = data_of(read_text_file(path))["runs"][0];
  EXPECT_EQ(data["name"], run.filename().string());
  EXPECT_EQ(data["steps"], 2);
  EXPECT_EQ(data["samples_per_s"], 75.0);
  EXPECT_EQ(data["curves"]["loss"]["samples"], (std::vector<int>{100, 200}));
  EXPECT_EQ(data["curves"]["loss"]["values"], (std::vector<double>{2, 1}));
  EXPECT_EQ(data["curves"]["eval/knn_accuracy"]["newest"], 0.75);
  EXPECT_EQ(data["clock"]["values"], (std::vector<double>{2, 3}));
  EXPECT_EQ(data["pictures"][0]["step"], 12);
  EXPECT_EQ(data["pictures"][0]["png"], "UE5HIQ==");
  EXPECT_EQ(data["stills"][0]["name"], "grid");
  EXPECT_EQ(data["evaluations"][0]["texts"]["of"], "untrained");
  EXPECT_EQ(data["evaluations"][0]["figures"]["accuracy"], 0.5);
  EXPECT_EQ(data["checkpoints"][0]["name"], "step-000000002");
  EXPECT_EQ(data["checkpoints"][0]["bytes"], 2);
  EXPECT_EQ(data["recipe"], kRecipe);
}

TEST(Report, NeedsNoOtherFile) {
  std::string page = read_text_file(write_report({small_run()}));
  // The plotting script names its home in a comment.
  const std::string home = "https://github.com/leeoniya/uPlot";
  ASSERT_NE(page.find(home), std::string::npos);
  page.replace(page.find(home), home.size(), "");
  for (const char* outside : {"http:", "https:", "src=\"", "@import", "url(", "<link", "fetch("}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  EXPECT_NE(page.find("Permission is hereby granted"), std::string::npos) << "uPlot's licence";
}

TEST(Report, LaysRunsOverOneAnother) {
  const auto first = small_run(), second = small_run();
  const auto out = test::fresh_folder("report_out") / "both.html";
  EXPECT_EQ(write_report({first, second}, out), out);
  const nlohmann::json runs = data_of(read_text_file(out))["runs"];
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[1]["folder"], std::filesystem::canonical(second).string());
  EXPECT_FALSE(std::filesystem::exists(first / "report.html"));
  EXPECT_EQ(write_report({first}, out.parent_path()), out.parent_path() / "report.html");
  EXPECT_THROW(write_report({first}, out.parent_path() / "none" / "both.html"), Error);
}

TEST(Report, TellsRunsOfOneNameApart) {
  const auto run = small_run();
  const auto other = test::fresh_folder("elsewhere") / run.filename();
  std::filesystem::copy(run, other, std::filesystem::copy_options::recursive);
  const nlohmann::json runs = data_of(read_text_file(write_report({run, other})))["runs"];
  EXPECT_NE(runs[0]["name"], runs[1]["name"]);
}

TEST(RunData, ThinsByMeansAndLeavesOutWhatIsNotFinite) {
  const double inf = std::numeric_limits<double>::infinity();
  const Curve thin = thinned({{1, 2, 3, 4, 5}, {1, 3, inf, 5, 9}}, 2);
  EXPECT_EQ(thin.samples, (std::vector<double>{1.5, 4.5}));
  EXPECT_EQ(thin.values, (std::vector<double>{2, 7}));
  EXPECT_EQ(thinned({{1, 2}, {inf, 4}}, 2).values, std::vector<double>{4});
}

TEST(RunData, TakesFirstAndLastOfManyFiles) {
  EXPECT_EQ(evenly({"a", "b", "c", "d", "e"}, 3),
            (std::vector<std::filesystem::path>{"a", "c", "e"}));
  EXPECT_EQ(evenly({"a", "b"}, 3).size(), 2u);
}

TEST(Spread, MedianOfEvenAndOdd) {
  EXPECT_EQ(spread_of({3, 1, 2}).median, 2);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
  EXPECT_EQ(spread_of({4, 1}).max, 4);
}

}  // namespace
}  // namespace kiln
