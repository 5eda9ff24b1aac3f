#pragma once

namespace kiln {

/// The rank of this process and the number of ranks, as the launcher (mpirun, srun) tells them in
/// the environment: MPI need not be initialised. A process that was started alone is rank 0 of 1.
struct LauncherRank {
  int rank = 0;
  int size = 1;
};
LauncherRank launcher_rank();

}  // namespace kiln
