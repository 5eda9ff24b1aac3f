#include "dist/process.h"

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <exception>
#include <thread>

#include "core/error.h"
#include "core/hash.h"
#include "core/launcher_rank.h"
#include "core/log.h"
#include "core/on_all_ranks.h"
#include "dist/local_communicator.h"
#include "dist/mpi_check.h"
#include "dist/mpi_communicator.h"

namespace kiln {
namespace {

void start_mpi(int launched_size) {
  int provided = MPI_THREAD_SINGLE;
  KILN_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided));
  if (provided < MPI_THREAD_SERIALIZED) {
    throw communication_error(
        "this MPI library allows calls from the main thread only: use an "
        "Open MPI built with thread support");
  }
  int size = 1;
  KILN_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size));
  if (size != launched_size) {
    throw communication_error(
        "the launcher started {} processes, but to MPI this is one of {}: each would train on its "
        "own. The launcher is not the one this MPI library belongs to: use mpirun of the same Open "
        "MPI, or 'srun --mpi=pmix'.",
        launched_size, size);
  }
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
    communicator_ = make_local_communicator();
  } else {
    start_mpi(launched_size);
    has_mpi_ = true;
    communicator_ = make_mpi_communicator({.timeout = options.timeout});
  }
  hosts_ = gather_texts(*communicator_, host_name());
  local_size_ = 0;
  for (int other = 0; other < size(); ++other) {
    if (hosts_[other] != hosts_[rank()]) continue;
    if (other < rank()) ++local_rank_;
    ++local_size_;
  }
  if (size() > 1) check_equal_on_all_ranks(*communicator_, "program", program_hash());
  const auto warning = affinity_warning(num_usable_processors(), num_processors(), local_size_);
  if (!warning.empty()) log_warning("{}", warning);
}

Process::~Process() {
  communicator_.reset();
  if (has_mpi_ && std::uncaught_exceptions() == 0) MPI_Finalize();
}

int num_usable_processors() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return num_processors();
  return CPU_COUNT(&mask);
}

int num_processors() { return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)); }

std::string affinity_warning(int num_usable, int num_processors, int local_size) {
  const int share = num_processors / local_size;
  if (num_usable >= share) return "";
  return fmt::format(
      "each rank may use {} of this host's {} processors, though {} rank{} could have {} each. "
      "Start "
      "with 'mpirun --bind-to none', or 'srun --cpus-per-task={}'.",
      num_usable, num_processors, local_size, local_size == 1 ? "" : "s", share, share);
}

std::string program_hash() { return hash_file("/proc/self/exe", ExitCode::kInternal).xxh3; }

}  // namespace kiln
