#include "dist/mpi/process.h"

#include <gtest/gtest.h>

namespace kiln {
namespace {

TEST(Process, AloneIsRankZeroOfOne) {
  Process process;
  EXPECT_EQ(process.rank(), 0);
  EXPECT_EQ(process.size(), 1);
  EXPECT_EQ(process.rank_on_node(), 0);
  EXPECT_EQ(process.ranks_on_node(), 1);
  EXPECT_EQ(process.hosts().size(), 1u);
  EXPECT_EQ(process.communicator().name(), "local");
}

TEST(AffinityWarning, IsSilentWhereRanksHaveTheirShare) {
  EXPECT_EQ(affinity_warning(64, 64, 1), "");
  EXPECT_EQ(affinity_warning(16, 64, 4), "");
  EXPECT_EQ(affinity_warning(2, 2, 8), "");
}

TEST(AffinityWarning, TellsShareAndRemedy) {
  const auto warning = affinity_warning(1, 64, 4);
  EXPECT_NE(warning.find("1 of this host's 64"), std::string::npos) << warning;
  EXPECT_NE(warning.find("16 each"), std::string::npos) << warning;
  EXPECT_NE(warning.find("--bind-to none"), std::string::npos) << warning;
}

TEST(FairShare, DividesWhatRanksHaveInCommon) {
  EXPECT_EQ(fair_share(64, 64, 4), 16);
  EXPECT_EQ(fair_share(32, 64, 4), 8);  // a job given half of the host
  EXPECT_EQ(fair_share(2, 2, 8), 1);
}

TEST(FairShare, KeepsWhatTheLauncherBoundARankTo) { EXPECT_EQ(fair_share(16, 64, 4), 16); }

TEST(ProgramHash, IsStable) {
  EXPECT_EQ(program_hash().size(), 32u);
  EXPECT_EQ(program_hash(), program_hash());
}

}  // namespace
}  // namespace kiln
