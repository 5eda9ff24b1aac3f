// A family outside the tree (tests/support/toy_family/) through the real commands: nothing of launch/
// knows it, and everything works.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numbers>

#include "data/store/dataset.h"
#include "tests/launch/fixtures/run_fixture.h"
#include "tests/support/program.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr double kPixels = 256, kWidth = 16;

std::vector<std::string> toy(int ranks, std::vector<std::string> words) {
  words.insert(words.begin(), KILN_TOY);
  return ranks > 0 ? mpirun(ranks, words) : words;
}

Outcome must_run(const std::vector<std::string>& words) {
  Outcome outcome = run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome;
}

json json_of(int ranks, std::vector<std::string> words) {
  words.push_back("--json");
  return must_run(toy(ranks, std::move(words))).json();
}

class ToyFamily : public testing::Test {
 protected:
  ToyFamily() : folder_(fresh_folder("toy_family")), recipe_(folder_ / "toy.toml") {
    std::ofstream(recipe_)
        << "[run]\nseed = 3\n"
           "[model]\nname = \"toy_twins\"\n"
           "[data]\npath = \""
        << tiny_images().string()
        << "\"\n"
           "[[data.views]]\ncount = 2\nsize = 16\nscale = [0.7, 1.0]\nflip = 0.5\n"
           "[train]\nsteps = 12\nglobal_batch = 32\nmicro_batch = 4\n"
           "[optimizer]\nname = \"adamw\"\nlr = 0.01\n"
           "[schedule]\nname = \"constant\"\n"
           "[checkpoint]\nevery = 4\n[log]\nevery = 1\n";
  }

  json train(int ranks, const std::string& name, const std::vector<std::string>& overrides = {}) {
    std::vector<std::string> words = {"train", recipe_, "run.dir=" + (folder_ / name).string()};
    words.insert(words.end(), overrides.begin(), overrides.end());
    return json_of(ranks, words);
  }

  fs::path folder_, recipe_;
};

TEST_F(ToyFamily, TrainsToTheSameBitsOnAnyNumberOfRanks) {
  const json alone = train(0, "alone", {"run.reproducible=true"});
  EXPECT_EQ(alone["step"], 12);
  for (const int ranks : {2, 3}) {
    const std::string name = "ranks" + std::to_string(ranks);
    EXPECT_EQ(train(ranks, name, {"run.reproducible=true"})["weights_hash"], alone["weights_hash"]);
    EXPECT_EQ(train(ranks, name + "s",
                    {"run.reproducible=true", "parallel.shard_optimizer=true"})["weights_hash"],
              alone["weights_hash"]);
  }
}

TEST_F(ToyFamily, ResumesExactlyWithItsAverageNetwork) {
  const json whole = train(2, "whole", {"run.reproducible=true"});
  train(2, "halves", {"run.reproducible=true", "train.stop_after=5"});
  EXPECT_EQ(train(3, "halves", {"run.reproducible=true"})["weights_hash"], whole["weights_hash"]);
  const auto evaluation = [&](const char* run) {
    return json_of(0, {"eval", "twins", folder_ / run, "eval.max_samples=64"})["alignment"];
  };
  EXPECT_EQ(evaluation("halves"), evaluation("whole"));
}

TEST_F(ToyFamily, IsEvaluatedByWhatItOffers) {
  train(2, "run");
  const fs::path run = folder_ / "run";
  const std::string data = tiny_images().string();
  const json knn = json_of(
      2, {"eval", "knn", run, "eval.train_path=" + data, "eval.path=" + data, "eval.pool=teacher"});
  EXPECT_GT(knn["accuracy"], 0.5);
  const json trained = json_of(2, {"eval", "likelihood", run});
  const json untrained = json_of(0, {"eval", "likelihood", run, "--untrained"});
  EXPECT_LT(trained["bits_per_value"], untrained["bits_per_value"]);
  EXPECT_EQ(untrained["variance_bits_per_value"], 0.0);
  EXPECT_EQ(json_of(3, {"eval", "likelihood", run}), trained);
  EXPECT_LE(json_of(2, {"eval", "twins", run})["alignment"], 1.0);
  const Outcome unknown = kiln::test::run(toy(0, {"eval", "twin", run}));
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean 'twins'"));
  const Outcome pool = kiln::test::run(toy(
      0, {"eval", "linear", run, "eval.train_path=" + data, "eval.path=" + data, "eval.pool=cls"}));
  EXPECT_EQ(pool.exit_code, 2);
  EXPECT_THAT(pool.err, HasSubstr("encoder, teacher"));
}

// With means 0 and variances 1 the density of x is that of the standard normal distribution.
TEST_F(ToyFamily, GivesTheUntrainedModelTheBitsOfANormalDistribution) {
  train(0, "run", {"train.stop_after=1"});
  const Dataset dataset(tiny_images());
  double nats = 0.0, count = 0.0;
  for (std::int64_t id = 0; id < dataset.num_samples(); ++id) {
    const Dataset::Place place = dataset.locate(id);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(kPixels));
    dataset.shard(place.shard)->read_rows("image", place.row, 1, pixels.data());
    for (const std::uint8_t pixel : pixels) {
      const double x = static_cast<float>(pixel) / 127.5f - 1.0f;
      nats += 0.5 * (x * x + std::log(2.0 * std::numbers::pi));
      count += 1.0;
    }
  }
  const json measured = json_of(0, {"eval", "likelihood", folder_ / "run", "--untrained"});
  EXPECT_NEAR(measured["bits_per_value"], nats / count / std::numbers::ln2, 1e-5);
}

TEST_F(ToyFamily, DrawsPicturesThatItsOptionsChoose) {
  train(2, "run");
  const fs::path run = folder_ / "run";
  const auto sampled = [&](int ranks, const std::string& name, const std::string& noise) {
    const json made = json_of(ranks, {"sample", run, "--num", "8", "--batch", "4", "--noise", noise,
                                      "--out", folder_ / name});
    EXPECT_EQ(made["noise"], std::stod(noise));
    return Dataset(folder_ / name).manifest().fingerprint();
  };
  EXPECT_EQ(sampled(2, "two", "0.5"), sampled(0, "one", "0.5"));
  EXPECT_NE(sampled(0, "plain", "0"), sampled(0, "again", "0.5"));
  const json fid = json_of(2, {"eval", "fid", run, "eval.path=" + tiny_images().string(), "--num",
                               "64", "--noise", "0.5"});
  EXPECT_GT(fid["frechet_distance"], 0.0);
  EXPECT_GT(fid["class_accuracy"], 0.25);
  EXPECT_EQ(kiln::test::run(toy(0, {"sample", run, "--sampler", "ddim"})).exit_code, 2);
}

TEST_F(ToyFamily, IsBenchmarkedAndReplayed) {
  const json bench = json_of(2, {"bench", "step", recipe_, "--repeats", "3"});
  EXPECT_EQ(bench["flops_per_sample"], 3 * 2 * kPixels * kWidth + 2 * kPixels * kWidth);
  EXPECT_GT(bench["of_ceiling"], 0.0);
  train(0, "run");
  EXPECT_TRUE(json_of(0, {"replay", folder_ / "run", "--step", "6"})["is_repeatable"]);
}

TEST_F(ToyFamily, IsUnknownToTheProgramWithoutIt) {
  const Outcome outcome = run(kiln({"train", recipe_.string()}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("toy_twins"));
}

}  // namespace
}  // namespace kiln::test
