#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "launch/report/run_history.h"

namespace kiln {

/// What report.html shows of one run: figures, curves, pictures, evaluations, checkpoints and the
/// recipe. Curves of more than 4,000 points are given by their means over equal parts; of the
/// pictures made while training at most 60 are taken (fewer where they are large), evenly over the
/// run, the last one among them. Throws Error(kUsage) when the folder is not a run's.
nlohmann::ordered_json run_data(const std::filesystem::path& run_folder);

/// At most `count` points, each the mean over one of `count` equal parts; points that are not finite
/// are left out.
Curve thinned(const Curve& curve, std::size_t count);

/// `count` of `files`, evenly, the first and the last among them; all where there are no more.
std::vector<std::filesystem::path> evenly(const std::vector<std::filesystem::path>& files,
                                          std::size_t count);

}  // namespace kiln
