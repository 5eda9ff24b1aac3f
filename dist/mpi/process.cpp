#include "dist/mpi/process.h"

#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <thread>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/launcher_rank.h"
#include "core/on_all_ranks.h"
#include "core/report/activity.h"
#include "core/report/log.h"
#include "dist/local_communicator.h"
#include "dist/mpi/mpi_check.h"
#include "dist/mpi/mpi_communicator.h"
#include "dist/mpi/mpi_parameters.h"

namespace kiln {
namespace {

void start_mpi(int launched_size) {
  set_rank_parameters();
  int provided = MPI_THREAD_SINGLE;
  KILN_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided));
  if (provided < MPI_THREAD_SERIALIZED) {
    throw communication_error(
        "{} allows calls from the main thread only: use one built with thread support",
        mpi_library());
  }
  int size = 1;
  KILN_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
  if (size != launched_size) {
    // All ranks find this out, and one message is enough.
    if (launcher_rank().rank > 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    throw communication_error(
        "the launcher started {} processes, but to MPI this is one of {}: each would train on its "
        "own. This program runs with {}: start it with the mpirun of that, or 'srun --mpi=pmix'.",
        launched_size, size, mpi_library());
  }
}

// Nothing else tells a rank that mpirun was killed: it would wait until its time-outs end.
void end_with_launcher() {
  const pid_t launcher = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != launcher) raise(SIGKILL);
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

Process::Process(ProcessOptions options) {
  const int launched_size = launcher_rank().size;
  if (launched_size == 1) {
    if (std::getenv("OMPI_COMM_WORLD_SIZE")) end_with_launcher();
    communicator_ = make_local_communicator();
  } else {
    end_with_launcher();
    start_mpi(launched_size);
    has_mpi_ = true;
    communicator_ = make_mpi_communicator({.timeout = options.timeout});
  }
  hosts_ = gather_texts(*communicator_, host_name());
  ranks_on_node_ = 0;
  for (int other = 0; other < size(); ++other) {
    if (hosts_[other] != hosts_[rank()]) continue;
    if (other < rank()) ++rank_on_node_;
    ++ranks_on_node_;
  }
  if (size() > 1) check_equal_on_all_ranks(*communicator_, "program", program_hash());
  const auto warning = affinity_warning(num_usable_processors(), num_processors(), ranks_on_node_);
  if (!warning.empty()) log_warning("{}", warning);
}

Process::~Process() {
  if (has_mpi_) set_activity("wait for all ranks to end");
  communicator_.reset();
  if (has_mpi_ && std::uncaught_exceptions() == 0) MPI_Finalize();
}

std::int64_t Process::cores() const {
  return fair_share(num_usable_processors(), num_processors(), ranks_on_node_);
}

int num_usable_processors() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return num_processors();
  return CPU_COUNT(&mask);
}

int num_processors() { return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)); }

std::string affinity_warning(int num_usable, int num_processors, int num_ranks) {
  const int share = num_processors / num_ranks;
  if (num_usable >= share) return "";
  return fmt::format(
      "each rank may use {} of this host's {} processors, though {} rank{} could have {} each. "
      "Start "
      "with 'mpirun --bind-to none', or 'srun --cpus-per-task={}'.",
      num_usable, num_processors, num_ranks, num_ranks == 1 ? "" : "s", share, share);
}

int fair_share(int num_usable, int num_processors, int num_ranks) {
  const bool is_bound = num_usable < num_processors && num_usable * num_ranks <= num_processors;
  return std::max(1, is_bound ? num_usable : num_usable / num_ranks);
}

std::string program_hash() { return hash_file("/proc/self/exe", ExitCode::kInternal).xxh3; }

}  // namespace kiln
