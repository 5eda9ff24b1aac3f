#include "launch/supervisor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/program.h"

namespace kiln {
namespace {

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

TEST(Supervisor, OversubscribesOnlyWhereRanksOutnumberCores) {
  SupervisorOptions options;
  options.num_ranks = 4;
  EXPECT_TRUE(contains(mpirun_words(options, "kiln", 2), "--oversubscribe"));
  EXPECT_FALSE(contains(mpirun_words(options, "kiln", 4), "--oversubscribe"));
  options.hosts = "a:2,b:2";
  EXPECT_FALSE(contains(mpirun_words(options, "kiln", 2), "--oversubscribe"));
}

TEST(Supervisor, PutsTheCommandLast) {
  SupervisorOptions options;
  options.command = {"train", "recipe.toml"};
  const auto words = mpirun_words(options, "/bin/kiln", 8);
  const std::vector<std::string> tail(words.end() - 3, words.end());
  EXPECT_EQ(tail, (std::vector<std::string>{"/bin/kiln", "train", "recipe.toml"}));
}

TEST(Supervisor, PassesAnErrorStatusOnAndPrintsTheErrorOnce) {
  const test::Outcome outcome = test::run(test::kiln({"launch", "-np", "3", "--", "no_command"}));
  EXPECT_EQ(outcome.exit_code, 2);
  const std::string message = "command 'no_command' is unknown";
  const auto first = outcome.err.find(message);
  ASSERT_NE(first, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find(message, first + 1), std::string::npos) << outcome.err;
}

TEST(CommandLine, WithoutWordsPrintsTheCommands) {
  const test::Outcome outcome = test::run(test::kiln({}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.out.find("launch"), std::string::npos);
}

TEST(CommandLine, OffersTheNearestCommand) {
  const test::Outcome outcome = test::run(test::kiln({"lunch"}));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("did you mean 'launch'?"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace kiln
