#include "launch/world.h"

#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/launcher_rank.h"
#include "core/log.h"
#include "dist/local_communicator.h"
#include "dist/mpi_check.h"
#include "dist/mpi_communicator.h"
#include "launch/failure.h"

namespace kiln {

namespace {

std::int64_t usable_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/// A rank outlives a killed mpirun by hours otherwise: nothing else tells it.
void end_with_launcher() {
  const pid_t launcher = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launcher) raise(SIGKILL);
}

void initialise_mpi() {
  int provided = MPI_THREAD_SINGLE;
  KILN_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided));
  if (provided < MPI_THREAD_SERIALIZED) {
    throw communication_error(
        "this MPI library cannot be called from threads; Kiln needs "
        "MPI_THREAD_SERIALIZED (Open MPI 4 and later have it)");
  }
}

}  // namespace

World::World(double timeout_s) {
  if (launcher_rank().size == 1) {
    communicator_ = make_local_communicator();
  } else {
    end_with_launcher();
    initialise_mpi();
    MPI_Comm node = MPI_COMM_NULL;
    KILN_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    KILN_MPI(MPI_Comm_rank(node, &rank_on_node_));
    KILN_MPI(MPI_Comm_size(node, &ranks_on_node_));
    KILN_MPI(MPI_Comm_free(&node));
    MpiOptions options;
    options.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1e3));
    communicator_ = make_mpi_communicator(options);
  }
  warn_of_odd_launch();
}

std::int64_t World::cores() const {
  const std::int64_t on_node = std::max(1u, std::thread::hardware_concurrency());
  const std::int64_t usable = usable_cores();
  // Bound by the launcher to cores of its own, or sharing what the node has with its neighbours.
  const bool is_bound = usable < on_node && usable * ranks_on_node_ <= on_node;
  return is_bound ? usable : std::max<std::int64_t>(1, usable / ranks_on_node_);
}

void World::warn_of_odd_launch() const {
  if (const char* foreign = std::getenv("PMI_SIZE");
      foreign && size() == 1 && std::atoi(foreign) > 1) {
    log_warning(
        "the launcher started {} processes that do not know of each other: it belongs to "
        "another MPI library. Use Open MPI's mpirun, or srun --mpi=pmix",
        foreign);
  }
  if (launcher_rank().size != size()) {
    log_warning(
        "the launcher started {} processes but MPI joined {}: is this mpirun of the MPI "
        "library Kiln was built with? With Slurm: srun --mpi=pmix",
        launcher_rank().size, size());
  }
  const std::int64_t on_node = std::max(1u, std::thread::hardware_concurrency());
  const std::int64_t share = std::max<std::int64_t>(1, on_node / ranks_on_node_);
  if (size() > 1 && usable_cores() < share) {
    log_warning(
        "this rank is bound to {} of the {} cores that are its share of the node; start "
        "ranks with mpirun --bind-to none, or srun --cpu-bind=none",
        usable_cores(), share);
  }
}

CommandResult run_in_world(double timeout_s, const std::function<CommandResult(World&)>& body) {
  World world(timeout_s);
  if (world.size() == 1 && launcher_rank().size == 1) return body(world);
  const auto end_all = [&](ExitCode code, const char* message) {
    world.communicator().abort(fail(code, message));
  };
  CommandResult result;
  try {
    result = body(world);
    world.communicator().barrier();
  } catch (const Error& error) {
    end_all(error.code(), error.what());
  } catch (const std::exception& error) {
    end_all(ExitCode::kInternal, error.what());
  }
  world.communicator_.reset();
  KILN_MPI(MPI_Finalize());
  return result;
}

}  // namespace kiln
