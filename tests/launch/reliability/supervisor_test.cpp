#include "launch/supervise/supervisor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "launch/supervise/job_output.h"
#include "tests/support/program.h"

namespace kiln {
namespace {

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

TEST(Supervisor, OversubscribesOnlyWhereRanksOutnumberCores) {
  SupervisorOptions options;
  options.num_ranks = 4;
  EXPECT_TRUE(contains(mpirun_words(options, {}, "kiln", 2), "--oversubscribe"));
  EXPECT_FALSE(contains(mpirun_words(options, {}, "kiln", 4), "--oversubscribe"));
  EXPECT_FALSE(contains(mpirun_words(options, {{"a", 2}, {"b", 2}}, "kiln", 2), "--oversubscribe"));
}

TEST(Supervisor, PutsTheCommandLast) {
  SupervisorOptions options;
  options.command = {"train", "recipe.toml"};
  const auto words = mpirun_words(options, {}, "/bin/kiln", 8);
  const std::vector<std::string> tail(words.end() - 3, words.end());
  EXPECT_EQ(tail, (std::vector<std::string>{"/bin/kiln", "train", "recipe.toml"}));
}

TEST(Supervisor, StartsNoMoreRanksThanTheHostsLeftHaveSlots) {
  SupervisorOptions options;
  options.num_ranks = 16;
  const auto words = mpirun_words(options, {{"b", 8}}, "kiln", 2);
  EXPECT_EQ(words[2], "8");
  EXPECT_TRUE(contains(words, "b:8"));
}

TEST(Hosts, AreReadFromWordsAndFiles) {
  EXPECT_EQ(parse_hosts("a:8,b"), (std::vector<Host>{{"a", 8}, {"b", 1}}));
  EXPECT_EQ(parse_hosts("a,a,b:2"), (std::vector<Host>{{"a", 2}, {"b", 2}}));
  EXPECT_THROW(parse_hosts("a:eight"), Error);
  EXPECT_THROW(parse_hosts(""), Error);
  const auto file = test::fresh_folder("hosts") / "hostfile";
  std::ofstream(file) << "# two nodes\nnode1 slots=4 max_slots=8\n\nnode2  # one\n";
  EXPECT_EQ(read_hostfile(file), (std::vector<Host>{{"node1", 4}, {"node2", 1}}));
  EXPECT_EQ(to_text(read_hostfile(file)), "node1:4,node2:1");
}

TEST(Hosts, ThisMachineAnswersAndOneThatDoesNotExistIsLeftOut) {
  setenv("OMPI_MCA_plm_rsh_agent", "/bin/false", 1);
  const auto found =
      answering({{"localhost", 2}, {"no-such-host.invalid", 2}}, std::chrono::seconds(5));
  unsetenv("OMPI_MCA_plm_rsh_agent");
  EXPECT_EQ(found, (std::vector<Host>{{"localhost", 2}}));
}

constexpr const char* kFrame =
    "--------------------------------------------------------------------------\n";

TEST(JobOutput, ShowsLinesAsTheyComeAndHidesWhatMpirunSaysOfRanks) {
  JobOutput output;
  EXPECT_EQ(output.take("step 1"), "step 1");
  EXPECT_EQ(output.take("0\n-- no frame\n"), "0\n-- no frame\n");
  const std::string lost = std::string(kFrame) +
                           "mpirun noticed that process rank 1 with PID 0 on node n7 exited on "
                           "signal 9 (Killed).\n" +
                           kFrame;
  EXPECT_EQ(output.take(lost), "");
  EXPECT_EQ(output.lost_rank(), "rank 1 on n7 was ended by signal 9 (Killed)");
  const std::string advice = std::string(kFrame) + "There are not enough slots.\n" + kFrame;
  EXPECT_EQ(output.take(advice), advice);
  EXPECT_EQ(output.take("kiln: error: data.path is missing\n"),
            "kiln: error: data.path is missing\n");
  EXPECT_EQ(output.error(), "data.path is missing");
  EXPECT_EQ(output.take("----"), "");
  EXPECT_EQ(output.finish(), "----\n");
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
