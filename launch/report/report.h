#pragma once

#include <filesystem>

namespace kiln {

/// Writes RUN/report.html: figures, curves, pictures, evaluations, where the time went, checkpoints
/// and the recipe of a run, in one file that needs no other. Returns its path. May be called while
/// the run is going on. Throws Error(kUsage) when the folder is not a run's.
std::filesystem::path write_report(const std::filesystem::path& run_folder);

}  // namespace kiln
