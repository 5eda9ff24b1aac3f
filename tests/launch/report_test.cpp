#include "launch/report/report.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "launch/report/chart.h"
#include "launch/report/html.h"
#include "launch/report/run_history.h"
#include "launch/report/spread.h"
#include "tests/support/program.h"

namespace kiln {
namespace {

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
  std::ofstream(run / "recipe.toml") << "name = \"a <b>\"\n";
  std::filesystem::create_directory(run / "pictures");
  std::ofstream(run / "pictures" / "one.png") << "PNG!";
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

TEST(Report, IsOneFileWithEverythingInside) {
  const std::string page = read_text_file(write_report(small_run()));
  for (const char* part : {"eval/knn_accuracy", "data:image/png;base64,UE5HIQ==", "untrained",
                           "a &lt;b&gt;", "waiting for data"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  for (const char* outside : {"http:", "https:", "<script", "@import", "url("}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
}

TEST(Chart, TicksAreRoundAndCoverTheRange) {
  EXPECT_EQ(round_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(round_ticks(-3, 12, 3), (std::vector<double>{0, 5, 10}));
}

TEST(Chart, LeavesOutWhatIsNotFinite) {
  const Curve curve{{1, 2, 3}, {1.0, std::numeric_limits<double>::infinity(), 2.0}};
  EXPECT_EQ(line_chart({"loss"}, curve).find("inf"), std::string::npos);
  EXPECT_EQ(line_chart({"loss"}, Curve{}), "");
}

TEST(Spread, MedianOfEvenAndOdd) {
  EXPECT_EQ(spread_of({3, 1, 2}).median, 2);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
  EXPECT_EQ(spread_of({4, 1}).max, 4);
}

}  // namespace
}  // namespace kiln
