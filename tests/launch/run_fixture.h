#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace kiln::test {

/// A small labelled image dataset (4 classes of 16x16 grey pictures in two shards), made once per
/// process by the real importer from idx files. Returns its folder.
const std::filesystem::path& tiny_images();

/// A masked autoencoder small enough for a step in milliseconds: 8 micro-batches of 4, one epoch of
/// the tiny images in 16 steps. `more` are further lines of TOML.
std::filesystem::path tiny_mae_recipe(const std::filesystem::path& folder);

/// kiln train of the tiny recipe into RUN with overrides, alone (ranks 0) or under mpirun.
std::vector<std::string> train(int ranks, const std::filesystem::path& run_dir,
                               const std::vector<std::string>& overrides = {});

/// The same under `kiln launch WORDS... --`.
std::vector<std::string> launch(const std::vector<std::string>& words,
                                const std::filesystem::path& run_dir,
                                const std::vector<std::string>& overrides = {});

/// Living ranks of the run.
std::vector<pid_t> ranks_of(const std::filesystem::path& run_dir);
/// Living launchers: mpirun processes that have the run on their command line.
std::vector<pid_t> launchers_of(const std::filesystem::path& run_dir);

/// The last step of metrics.jsonl; 0: none yet.
std::int64_t last_logged_step(const std::filesystem::path& run_dir);
/// Until it is at least `step`; false when the limit passes or the program ends first.
bool wait_for_step(const Program& program, const std::filesystem::path& run_dir, std::int64_t step,
                   std::chrono::seconds limit = std::chrono::seconds(60));

/// Loss of each logged step, as exact as metrics.jsonl has it.
std::map<std::int64_t, double> losses(const std::filesystem::path& run_dir);

/// Every line of RUN/ledger of all ranks, sorted: what the run read, whoever read it.
std::vector<std::string> ledger(const std::filesystem::path& run_dir);

}  // namespace kiln::test
