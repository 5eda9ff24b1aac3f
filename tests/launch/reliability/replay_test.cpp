// A step that went wrong, afterwards: which sample, or which machine?

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "tests/launch/fixtures/families.h"
#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using testing::HasSubstr;

nlohmann::json replay(const std::filesystem::path& run_dir, int step,
                      const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"replay", run_dir.string(), "--step", std::to_string(step),
                                    "--json"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome outcome = run(kiln(words));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.json();
}

nlohmann::json logged(const std::filesystem::path& run_dir, int step) {
  std::ifstream in(run_dir / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    auto parsed = nlohmann::json::parse(line);
    if (parsed["step"] == step) return parsed;
  }
  return nullptr;
}

// Three sharded ranks train; one process repeats what they logged, to the last bit.
TEST(Replay, RepeatsAStepOfAnyNumberOfRanksBitForBit) {
  const auto run_dir = fresh_folder("replay") / "run";
  ASSERT_EQ(run(train(3, run_dir,
                      {"run.reproducible=true", "train.steps=12", "checkpoint.every=5",
                       "parallel.shard_optimizer=true", "train.clip_norm=0.5"}))
                .exit_code,
            0);
  for (const int step : {1, 6, 9}) {
    const auto result = replay(run_dir, step);
    const auto line = logged(run_dir, step);
    EXPECT_EQ(result["loss"], line["loss"]) << step;
    EXPECT_EQ(result["grad_norm"], line["grad_norm"]) << step;
    EXPECT_EQ(result["from_step"], step <= 5 ? 0 : 5);
    EXPECT_EQ(result["is_repeatable"], true);
    EXPECT_THAT(result["verdict"].get<std::string>(), HasSubstr("bit for bit"));
  }
}

// A log that says otherwise, as after a wrong bit in the machine that ran the step.
TEST(Replay, TellsWhenTheRunDidOtherwise) {
  const auto run_dir = fresh_folder("replay") / "run";
  ASSERT_EQ(run(train(1, run_dir, {"run.reproducible=true", "train.steps=12"})).exit_code, 0);
  auto line = logged(run_dir, 3);
  line["grad_norm"] = std::nextafter(line["grad_norm"].get<double>(), 1e9);
  std::ofstream(run_dir / "metrics.jsonl") << line.dump() << "\n";
  EXPECT_THAT(replay(run_dir, 3)["verdict"].get<std::string>(),
              HasSubstr("not what the run logged"));
}

/// Copies the latents and makes those of one sample not finite. Its number in the dataset.
constexpr int kPoisoned = 77;
void poison(const std::filesystem::path& dataset) {
  hid_t file = -1;
  hsize_t row = kPoisoned;
  std::vector<std::filesystem::path> shards;
  for (const auto& entry : std::filesystem::directory_iterator(dataset)) {
    if (entry.path().extension() == ".h5") shards.push_back(entry.path());
  }
  std::ranges::sort(shards);
  for (const auto& shard : shards) {
    file = H5Fopen(shard.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t data = H5Dopen2(file, "/moments/data", H5P_DEFAULT);
    const hid_t space = H5Dget_space(data);
    hsize_t size[8] = {};
    const int dims = H5Sget_simple_extent_dims(space, size, nullptr);
    const bool is_here = row < size[0];
    if (is_here) {
      hsize_t start[8] = {row}, count[8] = {1};
      hsize_t elements = 1;
      for (int d = 1; d < dims; ++d) elements *= count[d] = size[d];
      const std::vector<float> nan(elements, std::numeric_limits<float>::quiet_NaN());
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr);
      const hid_t memory = H5Screate_simple(dims, count, nullptr);
      EXPECT_GE(H5Dwrite(data, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, nan.data()), 0);
      H5Sclose(memory);
    }
    H5Sclose(space);
    H5Dclose(data);
    H5Fclose(file);
    if (is_here) return;
    row -= size[0];
  }
  FAIL() << "there is no sample " << kPoisoned;
}

class PoisonedSample : public testing::Test {
 protected:
  PoisonedSample() : folder_(fresh_folder("poisoned")), run_dir_(folder_ / "run") {
    std::filesystem::copy(tiny_latents_dataset(), folder_ / "dataset",
                          std::filesystem::copy_options::recursive);
    poison(folder_ / "dataset");
  }
  Outcome train_on_it(int ranks, const std::string& action) const {
    return run(train_family(
        Family::kDit, ranks, run_dir_,
        {"data.path=" + (folder_ / "dataset").string(), "train.epochs=1", "checkpoint.every=4",
         "run.reproducible=true", "divergence.action=" + action}));
  }
  nlohmann::json divergence() const {
    std::string line;
    std::getline(std::ifstream(run_dir_ / "divergences.jsonl"), line);
    return nlohmann::json::parse(line);
  }
  const std::filesystem::path folder_, run_dir_;
};

TEST_F(PoisonedSample, EndsTheRunAndReplayNamesIt) {
  const Outcome outcome = train_on_it(2, "stop");
  EXPECT_EQ(outcome.exit_code, 6) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("no longer finite"));
  const auto line = divergence();
  const auto& suspect = line["suspects"].at(0);
  EXPECT_THAT(suspect["samples"].get<std::vector<int>>(), testing::Contains(kPoisoned));

  const auto result = replay(run_dir_, line["step"]);
  EXPECT_EQ(result["is_repeatable"], true);
  std::vector<int> bad;
  for (const auto& micro_batch : result["micro_batches"]) {
    EXPECT_EQ(micro_batch["loss"].is_null(), micro_batch["micro_batch"] == suspect["micro_batch"]);
    for (const auto& sample : micro_batch.value("samples", nlohmann::json::array())) {
      if (sample["loss"].is_null()) bad.push_back(sample["sample"]);
    }
  }
  EXPECT_EQ(bad, (std::vector<int>{kPoisoned}));
}

// Skipped or rolled back, the run goes on, and to one hash on any number of ranks.
TEST_F(PoisonedSample, IsLeftOutAlikeOnAnyNumberOfRanks) {
  for (const std::string action : {"skip", "rollback"}) {
    std::filesystem::remove_all(run_dir_);
    const Outcome one = train_on_it(1, action);
    ASSERT_EQ(one.exit_code, 0) << one.err;
    EXPECT_EQ(divergence()["action"], action);
    std::filesystem::remove_all(run_dir_);
    const Outcome three = train_on_it(3, action);
    ASSERT_EQ(three.exit_code, 0) << three.err;
    EXPECT_EQ(three.json()["weights_hash"], one.json()["weights_hash"]);
  }
}

}  // namespace
}  // namespace kiln::test
