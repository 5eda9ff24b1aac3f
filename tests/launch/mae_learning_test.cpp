// MAE-3: the tiny autoencoder of configs/ learns. Its error on hidden pixels is held against two
// predictors that need no training, its features against those of the same network untrained.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

const std::filesystem::path kPictures =
    std::filesystem::path(KILN_SOURCE_DIR) / "../shared/data/fashion-mnist";

std::string import(const std::string& split, const std::filesystem::path& out) {
  const auto file = [&](const char* kind) { return (kPictures / (split + kind)).string(); };
  const Outcome outcome = run(kiln({"data", "import", "idx", file("-images-idx3-ubyte.gz"),
                                    file("-labels-idx1-ubyte.gz"), "--out", out.string()}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return out.string();
}

class MaeLearning : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kPictures)) GTEST_SKIP() << kPictures << " is not here";
    const auto folder = fresh_folder("mae_learning");
    run_dir_ = (folder / "run").string();
    const std::string train_path = import("train", folder / "train");
    const std::string recipe = std::string(KILN_SOURCE_DIR) + "/configs/mae_tiny_fashion.toml";
    const Outcome outcome = run(
        mpirun(2, kiln({"train", recipe, "run.dir=" + run_dir_, "data.path=" + train_path,
                        "eval.path=" + import("t10k", folder / "test"),
                        "eval.train_path=" + train_path, fmt::format("run.seed={}", GetParam())})),
        std::chrono::seconds(900));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  nlohmann::json evaluate(const std::string& what, const std::vector<std::string>& more) {
    std::vector<std::string> words = kiln({"eval", what, run_dir_, "--json"});
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run(words, std::chrono::seconds(600));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.json();
  }
  double gain(const std::string& what, int labels) {
    const std::string few = fmt::format("eval.train_samples={}", labels);
    const double before = evaluate(what, {few, "--untrained"})["accuracy"];
    const double after = evaluate(what, {few})["accuracy"];
    fmt::print("seed {}: {} on {} labels {:.4f} -> {:.4f}\n", GetParam(), what, labels, before,
               after);
    return after - before;
  }
  std::string run_dir_;
};

// Bounds: mean of the three seeds plus or minus three standard deviations (see the recipe's head).
TEST_P(MaeLearning, FillsInPixelsAndLearnsFeatures) {
  const nlohmann::json pixels = evaluate("reconstruct", {});
  const double mse = pixels["mse"];
  const double of_mean = mse / pixels["mse_visible_mean"].get<double>();
  const double of_nearest = mse / pixels["mse_nearest_patch"].get<double>();
  fmt::print("seed {}: mse {:.5f}, {:.4f} of the visible mean's, {:.4f} of the nearest patch's\n",
             GetParam(), mse, of_mean, of_nearest);
  EXPECT_LT(of_mean, 0.294);
  EXPECT_LT(of_nearest, 0.255);
  EXPECT_GT(gain("linear", 1'000), 0.055);
  EXPECT_GT(gain("knn", 10'000), 0.126);
}

INSTANTIATE_TEST_SUITE_P(Seeds, MaeLearning, testing::Values(1, 2, 3));

}  // namespace
}  // namespace kiln::test
