#pragma once

namespace kiln {

/// Which of how many processes the launcher (mpirun, srun) started this one as: known from the
/// environment before MPI is initialised, and without it. Alone: rank 0 of 1.
struct LauncherRank {
  int rank = 0;
  int size = 1;
};
LauncherRank launcher_rank();

}  // namespace kiln
