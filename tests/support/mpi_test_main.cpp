#include <gtest/gtest.h>
#include <mpi.h>

#include "dist/mpi/mpi_parameters.h"

// Runs one GoogleTest program as several ranks. Only rank 0 prints, and the job fails if a test
// failed on any rank.
int main(int argc, char** argv) {
  kiln::set_rank_parameters();
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  testing::InitGoogleTest(&argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  int failed = RUN_ALL_TESTS();
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return failed;
}
