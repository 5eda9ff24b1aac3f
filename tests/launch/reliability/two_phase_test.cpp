// An autoencoder with a discriminator is trained in two phases a step, each with an optimizer of
// its own. Both keep what the engine promises: the same losses on any number of ranks, and a resume
// that changes nothing, before the discriminator joins and after. So does the stage that follows.

#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/fixtures/diffusion_fixture.h"

namespace kiln::test {
namespace {

/// The named values of every logged step.
using Curves = std::map<std::string, std::map<std::int64_t, double>>;

Curves curves(const std::filesystem::path& run_dir, const std::vector<std::string>& names) {
  Curves found;
  std::ifstream in(run_dir / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const auto parsed = nlohmann::json::parse(line);
    for (const std::string& name : names) {
      if (parsed.contains(name)) found[name][parsed["step"]] = parsed[name];
    }
  }
  return found;
}

Curves both_losses(const std::filesystem::path& run_dir) {
  return curves(run_dir, {"loss", "discriminator/loss"});
}

void expect_near(const Curves& found, const Curves& expected) {
  for (const auto& [name, curve] : expected) {
    ASSERT_EQ(found.at(name).size(), curve.size()) << name;
    for (const auto& [step, value] : curve) {
      EXPECT_NEAR(found.at(name).at(step), value, 1e-6 * std::max(std::abs(value), 1e-3))
          << name << " of step " << step;
    }
  }
}

class TwoPhase : public testing::Test {
 protected:
  std::string train(int ranks, const std::filesystem::path& run_dir,
                    const std::vector<std::string>& overrides = {}) {
    const Outcome outcome =
        run(train_recipe(ranks, tiny_autoencoder_recipe(folder_), run_dir, overrides));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? outcome.json().value("weights_hash", "none") : "failed";
  }
  const std::filesystem::path folder_ = fresh_folder("two_phase");
};

TEST_F(TwoPhase, GivesTheSameLossesOnAnyNumberOfRanks) {
  train(1, folder_ / "one");
  const Curves expected = both_losses(folder_ / "one");
  ASSERT_EQ(expected.at("loss").size(), 12u);
  ASSERT_EQ(expected.at("discriminator/loss").size(), 6u);
  const std::map<int, std::string> is_sharded = {{2, "true"}, {3, "false"}, {4, "true"}};
  for (const auto& [ranks, sharded] : is_sharded) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks, sharded " + sharded);
    const auto run_dir = folder_ / std::to_string(ranks);
    train(ranks, run_dir, {"parallel.shard_optimizer=" + sharded});
    expect_near(both_losses(run_dir), expected);
  }
}

TEST_F(TwoPhase, EndsInTheSameBitsOnAnyNumberOfRanksWhereAskedTo) {
  const std::string one = train(1, folder_ / "1", {"run.reproducible=true"});
  EXPECT_EQ(train(3, folder_ / "3", {"run.reproducible=true"}), one);
}

// Step 4: the discriminator rests. Step 9: both have moments and averages.
TEST_F(TwoPhase, ResumeEndsInTheSameBits) {
  const std::vector<std::string> sharded = {"parallel.shard_optimizer=true"};
  const std::string whole = train(2, folder_ / "whole", sharded);
  for (const int stop : {4, 9}) {
    const auto run_dir = folder_ / ("stopped" + std::to_string(stop));
    const std::string half = train(
        2, run_dir, {"parallel.shard_optimizer=true", "train.stop_after=" + std::to_string(stop)});
    EXPECT_NE(half, whole);
    EXPECT_EQ(train(2, run_dir, sharded), whole) << "stopped after step " << stop;
    EXPECT_EQ(both_losses(run_dir), both_losses(folder_ / "whole"));
  }
}

// The checkpoint of a sharded run on three ranks, taken up by one rank.
TEST_F(TwoPhase, ResumesOnAnotherNumberOfRanks) {
  train(1, folder_ / "one");
  train(3, folder_ / "moved", {"parallel.shard_optimizer=true", "train.stop_after=9"});
  train(1, folder_ / "moved");
  expect_near(both_losses(folder_ / "moved"), both_losses(folder_ / "one"));
}

TEST(SecondStage, GivesTheSameLossesOnAnyNumberOfRanks) {
  const auto folder = fresh_folder("second_stage");
  const auto recipe = tiny_diffusion_recipe(folder, stages().latents);
  const auto losses_of = [&](int ranks, const std::string& name, const char* sharded) {
    const Outcome outcome = run(train_recipe(ranks, recipe, folder / name,
                                             {std::string("parallel.shard_optimizer=") + sharded}));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return curves(folder / name, {"loss", "mse"});
  };
  const Curves expected = losses_of(1, "one", "false");
  ASSERT_EQ(expected.at("loss").size(), 8u);
  expect_near(losses_of(2, "two", "true"), expected);
  expect_near(losses_of(3, "three", "false"), expected);
  expect_near(losses_of(4, "four", "true"), expected);
}

TEST(SecondStage, ResumeEndsInTheSameBits) {
  const auto folder = fresh_folder("second_stage");
  const auto recipe = tiny_diffusion_recipe(folder, stages().latents);
  const auto hash_of = [&](const std::string& name, const std::vector<std::string>& overrides) {
    const Outcome outcome = run(train_recipe(2, recipe, folder / name, overrides));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.json().value("weights_hash", "none");
  };
  const std::string whole = hash_of("whole", {});
  EXPECT_NE(hash_of("halves", {"train.stop_after=4"}), whole);
  EXPECT_EQ(hash_of("halves", {}), whole);
  EXPECT_EQ(losses(folder / "halves"), losses(folder / "whole"));
}

}  // namespace
}  // namespace kiln::test
