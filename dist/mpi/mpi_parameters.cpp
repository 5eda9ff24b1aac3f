#include "dist/mpi/mpi_parameters.h"

#include <mpi.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace kiln {
namespace {

void set_default(const char* variable, const char* value) {
  setenv(variable, value, /*overwrite=*/0);
}

bool are_all_ranks_here() {
  const char* all = std::getenv("OMPI_COMM_WORLD_SIZE");
  const char* here = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  if (all && here) return std::string_view(all) == here;
  const char* hosts = std::getenv("SLURM_STEP_NUM_NODES");
  return hosts && std::string_view(hosts) == "1";
}

}  // namespace

void set_rank_parameters() {
  // Where ranks cannot read each other's memory, messages go in pieces, by default three at a time:
  // too few for a thread that sleeps between polls.
  set_default("OMPI_MCA_pml_ob1_send_pipeline_depth", "32");
  // Ranks of one host meet in shared memory. Open MPI 5 looks for a way by TCP all the same, and each
  // rank complains where the host has no network, or an interface that does not reach itself.
  if (are_all_ranks_here()) set_default("OMPI_MCA_btl", "^tcp");
}

void set_launcher_parameters() {
  if (geteuid() != 0) return;
  // mpirun refuses to run as root unless two variables allow it. A user who starts Kiln as root
  // wants that.
  set_default("OMPI_ALLOW_RUN_AS_ROOT", "1");
  set_default("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
  // Containers forbid one process to read another's memory, and Open MPI complains at length.
  set_default("OMPI_MCA_btl_vader_single_copy_mechanism", "none");  // 4.1
  set_default("OMPI_MCA_smsc", "^cma");                             // 5
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string name(text);
  return name.substr(0, name.find_first_of(",\n"));
}

}  // namespace kiln
