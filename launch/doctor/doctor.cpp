#include "launch/doctor/doctor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/base/launcher_rank.h"
#include "core/on_all_ranks.h"

namespace kiln {

namespace {

using Json = nlohmann::ordered_json;

constexpr double kTimeout_s = 8;
constexpr const char* kChecks =
    "launcher, MPI, program, recipe, dataset, GPU, processors, network interface, shared memory, "
    "open files, run folder, file locks, disk space, file size, clock, bandwidth";

Json to_json(const Finding& finding) {
  return {{"name", finding.name},
          {"what", finding.what},
          {"remedy", finding.remedy},
          {"ranks", finding.ranks},
          {"code", static_cast<int>(finding.code)}};
}

Finding from_json(const Json& json, int rank) {
  return {json["name"], json["what"], json["remedy"], static_cast<ExitCode>(json["code"]), {rank}};
}

/// Findings of every rank, on all ranks; equal findings appear once.
std::vector<Finding> gather(World& world, const std::vector<Finding>& own) {
  Json text = Json::array();
  for (const Finding& finding : own) text.push_back(to_json(finding));
  const auto all = gather_texts(world.communicator(), text.dump());
  std::vector<Finding> findings;
  for (int rank = 0; rank < world.size(); ++rank) {
    for (const Json& json : Json::parse(all[static_cast<std::size_t>(rank)])) {
      const Finding finding = from_json(json, rank);
      const auto known = std::ranges::find_if(findings, [&](const Finding& other) {
        return other.name == finding.name && other.what == finding.what;
      });
      if (known == findings.end()) {
        findings.push_back(finding);
      } else {
        known->ranks.push_back(rank);
      }
    }
  }
  return findings;
}

CommandResult result_of(const std::vector<Finding>& findings, int ranks, bool is_speaker) {
  Json json = {{"findings", Json::array()}, {"ranks", ranks}, {"checks", kChecks}};
  for (const Finding& finding : findings) json["findings"].push_back(to_json(finding));
  if (is_speaker) {
    for (const Finding& finding : findings) {
      fmt::print("{}: {} (rank {})\n  {}\n", finding.name, finding.what,
                 fmt::join(finding.ranks, ", "), finding.remedy);
    }
    if (findings.empty()) fmt::print("{} ranks, no findings. Checked: {}\n", ranks, kChecks);
  }
  return {findings.empty() ? ExitCode::kDone : findings.front().code, json};
}

/// Reading the recipe opens its datasets, and each rank may find other faults in them.
std::optional<TrainingSetup> read_setup(const DoctorArgs& args, std::vector<Finding>& own) {
  if (args.recipe.empty()) return {};
  try {
    return read_training_setup(RecipeReader::from_file(args.recipe, args.overrides));
  } catch (const Error& error) {
    own.push_back({error.code() == ExitCode::kData ? "dataset" : "recipe", error.what(),
                   "mend it; 'kiln train RECIPE --dry-run' shows all of it", error.code()});
    return {};
  }
}

std::vector<Finding> examine(const DoctorArgs& args, World& world) {
  std::vector<Finding> own;
  std::optional<TrainingSetup> setup = read_setup(args, own);
  const auto add = [&](std::vector<Finding> more) {
    std::ranges::move(more, std::back_inserter(own));
  };
  add(check_machine(world, setup ? setup->recipe.run.device : "auto"));
  if (setup) add(check_folders(*setup));
  std::vector<Finding> findings = gather(world, own);
  const bool has_failed = std::ranges::any_of(
      findings, [](const Finding& f) { return f.name == "dataset" || f.name == "recipe"; });
  for (auto& check : {check_ranks_agree(world, setup && !has_failed ? &*setup : nullptr),
                      check_clocks(world), check_bandwidth(world)}) {
    findings.insert(findings.end(), check.begin(), check.end());
  }
  return findings;
}

Finding finding_of(const Error& error) {
  const bool is_program = error.code() == ExitCode::kUsage;  // ranks run different ones
  return {is_program ? "program" : "MPI", error.what(),
          is_program ? "install the same build on every host, best in a shared folder"
                     : "start with the mpirun of the MPI this program was built with, or srun "
                       "--mpi=pmix; 'mpirun --version' and 'ldd' of the program tell them apart",
          is_program ? ExitCode::kUsage : ExitCode::kCommunication};
}

}  // namespace

CommandResult doctor(const DoctorArgs& args) {
  const LauncherRank launched = launcher_rank();
  if (const auto findings = check_launcher(); !findings.empty()) {
    return result_of(findings, launched.size, launched.rank == 0);
  }
  std::optional<World> world;
  try {
    world.emplace(ProcessOptions{
        .timeout = std::chrono::milliseconds(static_cast<std::int64_t>(kTimeout_s * 1e3))});
  } catch (const Error& error) {
    return result_of({finding_of(error)}, launched.size, launched.rank == 0);
  }
  const std::vector<Finding> findings = examine(args, *world);
  return result_of(findings, world->size(), world->rank() == 0);
}

}  // namespace kiln
