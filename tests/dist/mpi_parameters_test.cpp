#include "dist/mpi/mpi_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

namespace kiln {
namespace {

/// Value of OMPI_MCA_btl after set_rank_parameters() in this environment; "" where it is not set.
std::string transports_with(const std::map<std::string, std::string>& environment) {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
                               "SLURM_STEP_NUM_NODES", "OMPI_MCA_btl"}) {
    unsetenv(variable);
  }
  for (const auto& [variable, value] : environment) setenv(variable.c_str(), value.c_str(), 1);
  set_rank_parameters();
  const char* value = std::getenv("OMPI_MCA_btl");
  return value ? value : "";
}

TEST(MpiParameters, RanksOfOneHostNeedNoTcp) {
  EXPECT_EQ(transports_with({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}}),
            "^tcp");
  EXPECT_EQ(transports_with({{"SLURM_STEP_NUM_NODES", "1"}}), "^tcp");
}

TEST(MpiParameters, RanksOfSeveralHostsMayUseTcp) {
  EXPECT_EQ(transports_with({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}),
            "");
  EXPECT_EQ(transports_with({{"SLURM_STEP_NUM_NODES", "2"}}), "");
}

TEST(MpiParameters, WhatTheUserSetStays) {
  EXPECT_EQ(transports_with({{"OMPI_COMM_WORLD_SIZE", "4"},
                             {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                             {"OMPI_MCA_btl", "tcp,self"}}),
            "tcp,self");
}

TEST(MpiParameters, LibraryHasNameAndVersion) {
  EXPECT_THAT(mpi_library(), testing::MatchesRegex("(Open MPI v|MPICH Version).*[0-9].*"));
}

}  // namespace
}  // namespace kiln
