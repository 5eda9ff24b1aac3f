#include "core/checkpoint/checkpoint_tools.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/checkpoints.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::SizeIs;

void flip_a_byte(const fs::path& path) {
  std::string bytes = read_text_file(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file_atomically(posix_file_system(), path, bytes);
}

TEST(CheckpointTools, ListLooksAtLengthsAndVerifyAtEveryByte) {
  const TemporaryFolder run;
  save_steps(run.path(), {1, 2, 3}, 2);
  flip_a_byte(checkpoint_folder(run.path(), 3) / "weights-00001.safetensors");
  fs::remove(checkpoint_folder(run.path(), 2) / "weights-00001.safetensors");

  const auto listed = list_checkpoints(run.path());
  ASSERT_THAT(listed, SizeIs(3));
  EXPECT_EQ(listed[0].step, 3);
  EXPECT_EQ(listed[0].problem, "");
  EXPECT_EQ(listed[0].ranks, 2);
  EXPECT_THAT(listed[1].problem, HasSubstr("No such file"));
  EXPECT_EQ(listed[2].problem, "");

  const auto verified = verify_checkpoints(run.path());
  EXPECT_THAT(verified[0].problem, HasSubstr("weights-00001.safetensors is damaged"));
  EXPECT_EQ(verified[2].problem, "");
  EXPECT_EQ(to_json(verified).at("damaged"), 2);
}

TEST(CheckpointTools, InspectGivesStatisticsOfTheFiniteElements) {
  const TemporaryFolder run;
  CheckpointState state = sample_state(1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  state.weights[1].data = at::tensor({-3.0, 1.0, 2.0, 2.0, nan, 0.0, 4.0}, at::kFloat);
  CheckpointWriter writer(writer_options(run.path()));
  writer.begin(state);
  writer.commit();

  const auto inspection = inspect_checkpoint(run.path());
  EXPECT_EQ(inspection.weights_hash, hash_checkpoint(run.path()).weights_hash);
  for (const auto& tensor : inspection.tensors) {
    if (tensor.name != "encoder.bias") continue;
    EXPECT_EQ(tensor.num_not_finite, 1);
    EXPECT_EQ(tensor.min, -3.0);
    EXPECT_EQ(tensor.max, 4.0);
    EXPECT_EQ(tensor.mean, 1.0);
    EXPECT_EQ(tensor.rms, std::sqrt(34.0 / 6.0));
  }
  EXPECT_EQ(to_json(inspection).at("tensors").size(), sample_tensors().size());
}

TEST(CheckpointTools, DiffIsEmptyForOneStateWrittenByDifferentRanks) {
  const TemporaryFolder run;
  save_steps(run.path() / "a", {3}, 1);
  save_steps(run.path() / "b", {3}, 4);
  const auto diff = diff_checkpoints(run.path() / "a", run.path() / "b");
  EXPECT_THAT(diff.tensors, SizeIs(0));
  EXPECT_THAT(diff.keys, SizeIs(0));
}

TEST(CheckpointTools, DiffNamesTensorsKeysAndDistances) {
  const TemporaryFolder run;
  save_steps(run.path(), {3});
  CheckpointState state = sample_state(3);
  state.identity["run.seed"] = "1";
  state.weights[0].data = state.weights[0].data.clone();
  state.weights[0].data[4] += 0.5;
  state.weights[0].data[9] -= 2.0;
  state.weights[1].shape = {1, 7};
  state.weights.erase(state.weights.begin() + 2);
  CheckpointWriter writer(writer_options(run.path() / "b"));
  writer.begin(state);
  writer.commit();

  const auto diff = diff_checkpoints(run.path(), run.path() / "b");
  ASSERT_THAT(diff.keys, SizeIs(1));
  EXPECT_EQ(diff.keys[0].name, "recipe run.seed");
  EXPECT_EQ(diff.keys[0].what, "0 and 1");
  ASSERT_THAT(diff.tensors, SizeIs(3));
  EXPECT_EQ(diff.tensors[0].what, "shape [7] and [1, 7]");
  EXPECT_EQ(diff.tensors[1].what, "2 of 35 elements");
  EXPECT_EQ(diff.tensors[1].max_abs, 2.0);
  EXPECT_EQ(diff.tensors[2].name, "scale");
  EXPECT_EQ(diff.tensors[2].what, "only in the first");
}

}  // namespace
}  // namespace kiln
