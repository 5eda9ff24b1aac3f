#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kiln::test {

/// Models of the three families, each small enough for a step in milliseconds, with data made once
/// per process by the real importers: 8 micro-batches a step.
enum class Family { kMae, kBert, kDit };

/// kiln train of that model into RUN with overrides, alone (ranks 0) or under mpirun.
std::vector<std::string> train_family(Family family, int ranks,
                                      const std::filesystem::path& run_dir,
                                      const std::vector<std::string>& overrides);

/// Latents that Family::kDit trains on.
const std::filesystem::path& tiny_latents_dataset();

}  // namespace kiln::test
