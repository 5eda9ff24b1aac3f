#pragma once

#include <filesystem>
#include <vector>

namespace kiln {

/// Writes one HTML page that needs no other file and no network: figures, curves, pictures,
/// evaluations, where the time went, checkpoints and the recipe of a run, or of several laid over
/// one another. Runs may be going on. `out` is a file or a folder for report.html; empty means the
/// folder of the first run. Returns the page's path. Throws Error(kUsage) when a folder is not a run's
/// and when `out` is in no folder.
std::filesystem::path write_report(const std::vector<std::filesystem::path>& run_folders,
                                   const std::filesystem::path& out = {});

}  // namespace kiln
