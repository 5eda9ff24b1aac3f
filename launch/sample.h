#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/command.h"
#include "models/latent_diffusion/generate.h"

namespace kiln {

struct SampleWords {
  std::string of;                      // a run, a checkpoint's folder, or a Hugging Face folder
  std::vector<std::string> overrides;  // section.key=value
  std::string autoencoder;             // instead of model.autoencoder
  std::filesystem::path out = "samples.png";  // a .png grid, else the folder of a dataset
  std::int64_t num = 64;
  std::int64_t batch = 32;  // samples made together; part of the result's bits
  std::int64_t label = -1;  // -1: the classes in turn
  std::string device = "auto";
  std::int64_t threads = 0;
  GenerateOptions generate;
};

/// `kiln sample`: batches are shared out to the ranks; every picture depends on its number, the
/// seed and the batch size alone. Result: "samples", "out", "sampler", "steps", "seconds".
CommandResult sample_pictures(const SampleWords& words);

}  // namespace kiln
