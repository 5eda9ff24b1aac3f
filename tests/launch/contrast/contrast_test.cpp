// Methods that compare views, through the real binary: one hash on any number of ranks, exact
// resume, features for kNN, and one clear error for what they cannot be trained on.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using testing::HasSubstr;

constexpr const char* kResNet = "layers = 18\nwidth = 0.0625\nstem = \"cifar\"\n";
constexpr const char* kVit = "backbone = \"vit\"\npreset = \"tiny\"\ndim = 32\ndepth = 2\n";
constexpr const char* kTwoViews =
    "[[data.views]]\ncount = 2\nsize = 16\nscale = [0.3, 1.0]\nflip = 0.5\n";

struct Method {
  std::string name;   // of the test
  std::string model;  // [model]
  std::string views = kTwoViews;
};

const std::vector<Method>& methods() {
  static const std::vector<Method> list = {
      {"Simclr", fmt::format("name = \"simclr\"\nhidden = 32\nout = 16\n{}", kResNet)},
      {"MocoV2", fmt::format("name = \"moco\"\nversion = 2\nout = 16\nqueue = 96\n{}", kResNet)},
      {"MocoV3", fmt::format("name = \"moco\"\nversion = 3\nhidden = 32\nout = 16\n{}", kVit)},
      {"Moby", fmt::format("name = \"moby\"\nhidden = 32\nout = 16\nqueue = 96\n{}", kVit)},
      {"Byol", fmt::format("name = \"byol\"\nhidden = 32\nout = 16\n{}", kResNet)},
      {"Dino",
       fmt::format("name = \"dino\"\nhidden = 32\nbottleneck = 16\nout = 48\n"
                   "freeze_last_layer_epochs = 0.05\n{}",
                   kVit),
       std::string(kTwoViews) + "[[data.views]]\ncount = 2\nsize = 8\nscale = [0.1, 0.3]\n"},
      {"Margin", fmt::format("name = \"siamese\"\n{}", kResNet), ""},
  };
  return list;
}

std::vector<std::string> train(const Method& method, int ranks,
                               const std::filesystem::path& run_dir,
                               const std::vector<std::string>& overrides) {
  std::filesystem::create_directories(run_dir.parent_path());
  const auto path = run_dir.parent_path() / "method.toml";
  std::ofstream(path) << fmt::format(
      "[run]\nname = \"method\"\nseed = 5\nthreads = 1\nreproducible = true\n"
      "[data]\npath = \"{}\"\n{}[model]\n{}"
      "[train]\nsteps = 6\nglobal_batch = 24\nmicro_batch = 4\n"
      "[optimizer]\nname = \"sgd\"\nlr = 0.05\nmomentum = 0.9\n[schedule]\nwarmup_steps = 2\n"
      "[parallel]\ntimeout_s = 60\n[checkpoint]\nevery = 0\n[log]\nevery = 1\n",
      tiny_images().string(), method.views, method.model);
  std::vector<std::string> words =
      kiln({"train", path.string(), "run.dir=" + run_dir.string(), "--json"});
  words.insert(words.end(), overrides.begin(), overrides.end());
  return ranks == 0 ? words : mpirun(ranks, words);
}

std::string hash_of(const Method& method, int ranks, const std::filesystem::path& run_dir,
                    const std::vector<std::string>& overrides = {}) {
  const Outcome outcome = run(train(method, ranks, run_dir, overrides));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.json().value("weights_hash", "none");
}

class Contrast : public testing::TestWithParam<Method> {};

TEST_P(Contrast, SameBitsOnAnyNumberOfRanksAndThroughAStop) {
  const auto folder = fresh_folder("contrast");
  const std::string alone = hash_of(GetParam(), 0, folder / "one");
  EXPECT_EQ(hash_of(GetParam(), 2, folder / "two", {"parallel.shard_optimizer=true"}), alone);
  // Three ranks up to step 3, then one.
  hash_of(GetParam(), 3, folder / "three", {"train.stop_after=3"});
  EXPECT_EQ(hash_of(GetParam(), 0, folder / "three"), alone);
  // Another seed is another run: the hash sees something.
  EXPECT_NE(hash_of(GetParam(), 0, folder / "other", {"run.seed=6"}), alone);
}

TEST_P(Contrast, GivesFeatures) {
  const auto folder = fresh_folder("contrast");
  hash_of(GetParam(), 0, folder / "run");
  const std::string images = tiny_images().string();
  const Outcome outcome = run(kiln({"eval", "knn", (folder / "run").string(), "eval.path=" + images,
                                    "eval.train_path=" + images, "--json"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

INSTANTIATE_TEST_SUITE_P(Methods, Contrast, testing::ValuesIn(methods()),
                         [](const auto& info) { return info.param.name; });

class ContrastBadInput : public testing::Test {
 protected:
  void expect_refused(const Method& method, const std::vector<std::string>& overrides,
                      const std::string& text) {
    const Outcome outcome = run(train(method, 0, fresh_folder("contrast") / "run", overrides));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(text));
  }
  const Method& simclr_ = methods()[0];
  const Method& moco_ = methods()[1];
};

TEST_F(ContrastBadInput, OneViewOrNone) {
  expect_refused(simclr_, {"data.views.0.count=1"}, "two views");
  expect_refused(simclr_, {"data.views=[]"}, "two views");
}

TEST_F(ContrastBadInput, ABatchOfOne) {
  expect_refused(simclr_, {"train.global_batch=1", "train.micro_batch=1"}, "at least 2");
}

TEST_F(ContrastBadInput, ATemperatureOfZero) {
  expect_refused(simclr_, {"model.temperature=0"}, "model.temperature");
  expect_refused(moco_, {"model.temperature=0"}, "model.temperature");
}

TEST_F(ContrastBadInput, AQueueThatTheBatchDoesNotDivide) {
  expect_refused(moco_, {"model.queue=100"}, "multiple of train.global_batch");
}

TEST_F(ContrastBadInput, BatchNormGroupsThatDoNotFit) {
  expect_refused(moco_, {"model.batch_norm_groups=3"}, "model.batch_norm_groups");
}

}  // namespace
}  // namespace kiln::test
