// [optimizer.PHASE] and [schedule.NAME] of a recipe.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/training/phase_settings.h"
#include "tests/support/coupled_toy.h"

namespace kiln {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kBase = "[train]\nsteps = 10\n[optimizer]\nlr = 0.1\nweight_decay = 0.3\n";

struct Read {
  RecipeReader reader;
  Recipe recipe;
};

Read read(const std::string& more, const std::vector<std::string>& overrides = {},
          bool has_critic = true) {
  Read result{RecipeReader::from_text(kBase + more, "test", overrides), {}};
  result.recipe = read_engine_sections(result.reader);
  const toy::CoupledObjective objective({.has_critic = has_critic});
  read_phase_sections(result.reader, result.recipe, objective);
  result.reader.finish();
  return result;
}

std::string error_of(const std::string& more) {
  try {
    read(more);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

TEST(PhaseSections, AreReadFromFileAndCommandLine) {
  const Read got = read("[optimizer.critic]\nname = \"adam\"\nclip_norm = 2.0\n",
                        {"optimizer.critic.betas=[0.5, 0.9]", "optimizer.encoder.eps=1e-5"});
  EXPECT_EQ(got.recipe.phases.at("critic").name, "adam");
  EXPECT_EQ(got.recipe.phases.at("critic").clip_norm, 2.0);
  EXPECT_EQ(got.recipe.phases.at("critic").betas, (std::vector<double>{0.5, 0.9}));
  EXPECT_EQ(got.recipe.phases.at("encoder").eps, 1e-5);
  EXPECT_FALSE(got.recipe.phases.at("encoder").name.has_value());
  EXPECT_EQ(got.reader.identity().at("optimizer.critic.clip_norm"), "2.0");
}

TEST(PhaseSections, ResolvedRecipeReadsBackTheSame) {
  const Read got = read("[optimizer.critic]\nlr = 0.5\n[schedule.momentum]\nstart = 0.5\n");
  const std::string resolved = got.reader.resolved_toml();
  RecipeReader again = RecipeReader::from_text(resolved, "again", {});
  Recipe recipe = read_engine_sections(again);
  read_phase_sections(again, recipe, toy::CoupledObjective({.has_critic = true}));
  again.finish();
  EXPECT_EQ(again.identity(), got.reader.identity());
  EXPECT_EQ(recipe.phases.at("critic").lr, 0.5);
}

TEST(PhaseSections, AnUnknownPhaseIsOneMistakeThatNamesThePhases) {
  const std::string error = error_of("[optimizer.critc]\nlr = 0.5\nepz = 1\n");
  EXPECT_THAT(error, HasSubstr("[optimizer.critc]"));
  EXPECT_THAT(error, HasSubstr("encoder"));
  EXPECT_THAT(error, HasSubstr("did you mean 'critic'"));
  EXPECT_THAT(error, Not(HasSubstr("mistakes"))) << "one";
}

TEST(PhaseSections, AnUnknownKeyOfAPhaseIsNamed) {
  EXPECT_THAT(error_of("[optimizer.critic]\nclip_nrm = 1.0\n"),
              HasSubstr("optimizer.critic.clip_nrm is not a key; did you mean"));
  EXPECT_THAT(error_of("[optimizer.critic]\nname = \"adan\"\n"), HasSubstr("did you mean 'adam'"));
  EXPECT_THAT(error_of("[optimizer.critic]\nlr = 1.0\nlr_factor = 1.0\n"), HasSubstr("give one"));
}

TEST(PhaseSections, AModelOfOnePhaseShowsNone) {
  const Read got = read("", {}, /*has_critic=*/false);
  EXPECT_TRUE(got.recipe.phases.empty());
  EXPECT_THAT(got.reader.resolved_toml(), Not(HasSubstr("[optimizer.")));
}

TEST(ScheduleSections, ChangeWhatTheObjectiveDeclares) {
  const Read got = read(
      "[schedule]\nname = \"constant\"\nwarmup_epochs = 0\n"
      "[schedule.temperature]\nwarmup_epochs = 2\n",
      {"schedule.momentum.start=0.5"});
  EXPECT_EQ(got.recipe.schedules.at("momentum").start, 0.5);
  EXPECT_EQ(got.recipe.schedules.at("momentum").end, 1.0) << "as declared";
  EXPECT_EQ(got.recipe.schedules.at("temperature").warmup_epochs, 2.0);
  EXPECT_FALSE(got.recipe.schedules.at("temperature").warmup_steps.has_value())
      << "the declared length gives way to the recipe's";
  EXPECT_EQ(got.recipe.schedule.name, "constant") << "[schedule] is the learning rate's";
}

TEST(ScheduleSections, AnUnknownValueIsOneMistakeThatNamesThem) {
  const std::string error = error_of("[schedule.momentun]\nstart = 0.5\n");
  EXPECT_THAT(error, HasSubstr("did you mean 'momentum'"));
  EXPECT_THAT(error, HasSubstr("weight_decay"));
}

}  // namespace
}  // namespace kiln
