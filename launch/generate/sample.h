#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/generate/picture_maker.h"
#include "launch/run/result.h"

namespace kiln {

struct SampleArgs {
  std::string of;                      // a run, a checkpoint's folder, or a Hugging Face folder
  std::vector<std::string> overrides;  // section.key=value
  std::filesystem::path out = "samples.png";  // a .png grid, else the folder of a dataset
  std::int64_t num = 64;
  std::string device = "auto";
  std::int64_t threads = 1;  // another number may change the last bits of a network's results
  PictureOptions pictures;
};

/// `kiln sample`: batches are shared out to the ranks; every picture depends on its number, the
/// seed and the batch size alone. Result: "samples", "out", "seconds", and what
/// the generator says of its options ("sampler", "steps").
CommandResult sample_pictures(const SampleArgs& args);

}  // namespace kiln
