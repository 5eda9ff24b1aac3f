#include "core/base/launcher_rank.h"

#include <cstdlib>

namespace kiln {

namespace {

int number_in(const char* variable, int fallback) {
  const char* text = std::getenv(variable);
  return text && *text ? std::atoi(text) : fallback;
}

}  // namespace

LauncherRank launcher_rank() {
  if (std::getenv("OMPI_COMM_WORLD_RANK")) {
    return {number_in("OMPI_COMM_WORLD_RANK", 0), number_in("OMPI_COMM_WORLD_SIZE", 1)};
  }
  if (std::getenv("PMI_RANK"))
    return {number_in("PMI_RANK", 0), number_in("PMI_SIZE", 1)};  // MPICH
  // A Slurm allocation sets SLURM_PROCID = 0 in the batch script too, which does no harm here.
  return {number_in("SLURM_PROCID", 0), number_in("SLURM_STEP_NUM_TASKS", 1)};
}

}  // namespace kiln
