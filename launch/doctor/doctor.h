#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/run/result.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"

namespace kiln {

/// Something that would make training here fail, hang or be very slow.
struct Finding {
  std::string name;    // "open files"
  std::string what;    // what was found, and what was expected
  std::string remedy;  // what to do
  ExitCode code = ExitCode::kCommunication;
  std::vector<int> ranks = {};
};

struct DoctorArgs {
  std::string recipe;  // empty: the machine alone
  std::vector<std::string> overrides;
};

/// Checks, inside the real launch, that this machine or cluster can train: it takes seconds and
/// leaves no files. With a recipe also its datasets, run folder and sizes. JSON: "findings",
/// "ranks", "checks"; exit status 0 without findings, else that of the first.
CommandResult doctor(const DoctorArgs& args);

/// Checks that are needed before MPI is initialised: the launcher and this process must use the
/// same MPI.
std::vector<Finding> check_launcher();

/// Of this rank and its host: limits, shared memory, processors, interfaces, GPUs.
std::vector<Finding> check_machine(const World& world, const std::string& device);
/// Of the recipe's folders, as this rank sees them.
std::vector<Finding> check_folders(const TrainingSetup& setup);
/// Of all ranks together; collective. `setup`: null without a recipe.
std::vector<Finding> check_ranks_agree(World& world, const TrainingSetup* setup);
std::vector<Finding> check_clocks(World& world);
std::vector<Finding> check_bandwidth(World& world);

}  // namespace kiln
