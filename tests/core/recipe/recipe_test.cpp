#include "core/recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/recipe/recipe_reader.h"

namespace kiln {
namespace {

using testing::HasSubstr;

constexpr const char* kValid = R"(
[train]
steps = 100
global_batch = 64
[optimizer]
base_lr = 1.5e-4
)";

Recipe read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  RecipeReader reader = RecipeReader::from_text(text, "test.toml", overrides);
  Recipe recipe = read_engine_sections(reader);
  reader.finish();
  return recipe;
}

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    read(text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "no error";
}

TEST(Recipe, ReadsValuesAndKeepsDefaults) {
  const Recipe recipe = read(kValid);
  EXPECT_EQ(recipe.train.steps, 100);
  EXPECT_EQ(recipe.train.global_batch, 64);
  EXPECT_EQ(recipe.checkpoint.keep, 3);
  EXPECT_EQ(recipe.run.dir, "runs/run");
}

TEST(Recipe, ScalesBaseLearningRateByBatch) {
  EXPECT_DOUBLE_EQ(*read(kValid).optimizer.lr, 1.5e-4 * 64 / 256);
}

TEST(Recipe, CutsTheGlobalBatchIntoEightMicroBatches) {
  EXPECT_EQ(read(kValid).train.micro_batch, 8);
  EXPECT_EQ(read(kValid, {"train.global_batch=12"}).train.micro_batch,
            2);  // 8 and 7 do not divide 12
}

TEST(Recipe, OverridesWinOverTheFile) {
  const Recipe recipe = read(kValid, {"train.steps=7", "run.name=other", "run.seed=3",
                                      "optimizer.betas=[0.9, 0.95]", "schedule.warmup_epochs=2"});
  EXPECT_EQ(recipe.train.steps, 7);
  EXPECT_EQ(recipe.run.name, "other");
  EXPECT_EQ(recipe.run.seed, 3);
  EXPECT_EQ(recipe.optimizer.betas, (std::vector<double>{0.9, 0.95}));
  EXPECT_EQ(recipe.schedule.warmup_epochs, 2.0);  // an integer is a number
}

TEST(Recipe, AnOverrideTakesThePlaceOfItsAlternativeInTheFile) {
  const Recipe recipe = read(kValid, {"train.epochs=2", "optimizer.lr=1e-3"});
  EXPECT_EQ(recipe.train.epochs, 2.0);
  EXPECT_FALSE(recipe.train.steps);
  EXPECT_EQ(recipe.optimizer.lr, 1e-3);
  EXPECT_THAT(error_of(kValid, {"train.epochs=2", "train.samples=5"}), HasSubstr("exactly one"));
}

TEST(Recipe, OffersTheNearestNameOfAnUnknownKey) {
  EXPECT_THAT(error_of(kValid, {"train.global_bacth=4"}),
              HasSubstr("train.global_bacth is not a key; did you mean 'global_batch'?"));
  EXPECT_THAT(error_of(kValid, {"run.sede=4"}), HasSubstr("did you mean 'seed'?"));
}

TEST(Recipe, OffersTheSectionOfAMisplacedKey) {
  EXPECT_THAT(error_of(kValid, {"train.seed=4"}), HasSubstr("did you mean run.seed?"));
}

TEST(Recipe, NamesTheExpectedType) {
  EXPECT_THAT(error_of(kValid, {"train.global_batch=many"}),
              HasSubstr("train.global_batch = 'many' should be an integer"));
  EXPECT_THAT(error_of(kValid, {"run.reproducible=1"}), HasSubstr("should be true or false"));
}

TEST(Recipe, NamesTheSectionsThereAre) {
  EXPECT_THAT(error_of(kValid, {"weights_and_biases.project=1"}),
              HasSubstr("[weights_and_biases] is not a section; there are "));
}

TEST(Recipe, ReportsAllMistakesTogether) {
  const std::string error =
      error_of(kValid, {"train.global_bacth=4", "run.device=tpu", "optimiser.lr=1",
                        "train.epochs=3", "train.samples=9"});
  EXPECT_THAT(error, HasSubstr("4 mistakes"));
  EXPECT_THAT(error, HasSubstr("global_bacth"));
  EXPECT_THAT(error, HasSubstr("run.device 'tpu' is unknown"));
  EXPECT_THAT(error, HasSubstr("[optimiser] is not a section; did you mean 'optimizer'?"));
  EXPECT_THAT(error, HasSubstr("exactly one of train.samples, train.steps, train.epochs; found 2"));
}

TEST(Recipe, RefusesAGlobalBatchThatMicroBatchesDoNotFill) {
  EXPECT_THAT(error_of(kValid, {"train.micro_batch=7"}),
              HasSubstr("train.global_batch = 64 is not a multiple of train.micro_batch = 7"));
}

TEST(Recipe, NamesFileAndLineOfBadToml) {
  EXPECT_THAT(error_of("[train]\nsteps = = 3\n"), HasSubstr("test.toml:2: not valid TOML"));
}

TEST(Recipe, RefusesAWordThatIsNoOverride) {
  EXPECT_THAT(error_of(kValid, {"steps"}), HasSubstr("write section.key=value"));
}

TEST(Recipe, ResolvedTextReadsBackTheSame) {
  RecipeReader reader = RecipeReader::from_text(kValid, "test.toml", {"run.name=a \"b\""});
  read_engine_sections(reader);
  RecipeReader again = RecipeReader::from_text(reader.resolved_toml(), "resolved", {});
  read_engine_sections(again);
  again.finish();
  EXPECT_EQ(again.resolved_toml(), reader.resolved_toml());
  EXPECT_EQ(again.identity(), reader.identity());
}

TEST(Recipe, IdentityHoldsWhatDeterminesTheResult) {
  RecipeReader reader = RecipeReader::from_text(kValid, "test.toml", {});
  read_engine_sections(reader);
  const auto identity = reader.identity();
  EXPECT_EQ(identity.at("train.global_batch"), "64");
  EXPECT_EQ(identity.count("run.dir"), 0u);
  EXPECT_EQ(identity.count("checkpoint.every"), 0u);
}

}  // namespace
}  // namespace kiln
