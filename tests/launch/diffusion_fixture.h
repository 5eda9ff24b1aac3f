#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/launch/run_fixture.h"

namespace kiln::test {

/// An autoencoder of the tiny images (16 x 16, factor 2, latents 2 x 8 x 8) with a discriminator
/// that joins at step 6 of 12; 8 micro-batches of 4.
std::filesystem::path tiny_autoencoder_recipe(const std::filesystem::path& folder);
/// A class-conditional transformer on such latents: 8 steps of 8 micro-batches of 4.
std::filesystem::path tiny_diffusion_recipe(const std::filesystem::path& folder,
                                            const std::filesystem::path& latents);

/// kiln train RECIPE into RUN with overrides, alone (ranks 0) or under mpirun.
std::vector<std::string> train_recipe(int ranks, const std::filesystem::path& recipe,
                                      const std::filesystem::path& run_dir,
                                      const std::vector<std::string>& overrides = {});

/// All stages, trained once per process.
struct Stages {
  std::filesystem::path autoencoder, latents, diffusion;  // two runs, a dataset between them
};
const Stages& stages();

std::string bytes_of(const std::filesystem::path& file);

/// Commands around the stages, in a folder of the test's own.
class DiffusionPipeline : public testing::Test {
 protected:
  /// Ranks 0: without mpirun.
  Outcome run_kiln(int ranks, std::vector<std::string> words);
  /// The result of a command that is to succeed.
  nlohmann::json json_of(int ranks, std::vector<std::string> words);
  void expect_error(const std::vector<std::string>& words, int exit_code, const std::string& text);
  /// Refused as a recipe, before anything is written.
  void expect_training_error(const std::filesystem::path& recipe,
                             const std::vector<std::string>& overrides, const std::string& text);

  const std::filesystem::path folder_ = fresh_folder("pipeline");
  const std::string autoencoder_ = stages().autoencoder.string();
  const std::string latents_ = stages().latents.string();
  const std::string diffusion_ = stages().diffusion.string();
};

}  // namespace kiln::test
