#include <fcntl.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "core/base/launcher_rank.h"
#include "core/report/progress_bar.h"
#include "launch/doctor/doctor.h"
#include "launch/run/device.h"
#include "launch/train/train.h"

// Checks that a rank makes alone.

namespace kiln {

namespace {

namespace fs = std::filesystem;

constexpr rlim_t kOpenFiles = 1024;
constexpr double kSharedMemoryPerRank = 16.0 * 0x1p20;  // what Open MPI and NCCL map between ranks

double free_bytes(const fs::path& folder) {
  struct statvfs facts {};
  if (statvfs(folder.c_str(), &facts) != 0) return -1;
  return static_cast<double>(facts.f_bavail) * static_cast<double>(facts.f_frsize);
}

rlim_t limit_of(int resource) {
  rlimit limit{};
  getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  return limit.rlim_cur;
}

fs::path existing_part(fs::path path) {
  path = fs::absolute(path);
  while (!fs::exists(path) && path.has_parent_path() && path != path.parent_path())
    path = path.parent_path();
  return path;
}

void check_limits(std::vector<Finding>& findings) {
  if (const rlim_t files = limit_of(RLIMIT_NOFILE); files < kOpenFiles) {
    findings.push_back({"open files",
                        fmt::format("a process may open {} files; {} are needed for shards and "
                                    "connections",
                                    files, kOpenFiles),
                        "raise it: ulimit -n 65536, or LimitNOFILE of the service that starts "
                        "ranks"});
  }
}

void check_shared_memory(const World& world, std::vector<Finding>& findings) {
  const double available = free_bytes("/dev/shm");
  const double needed = kSharedMemoryPerRank * world.ranks_on_node();
  if (available >= 0 && available < needed) {
    findings.push_back(
        {"shared memory",
         fmt::format("/dev/shm has {} free, {} ranks of this host need {}", format_bytes(available),
                     world.ranks_on_node(), format_bytes(needed)),
         "remove what ended jobs left there, or start the container with a larger "
         "--shm-size"});
  }
}

void check_processors(const World& world, std::vector<Finding>& findings) {
  const std::string warning =
      affinity_warning(num_usable_processors(), num_processors(), world.ranks_on_node());
  if (!warning.empty()) {
    findings.push_back({"processors", warning.substr(0, warning.find(". ")),
                        "start with mpirun --bind-to none, or srun --cpus-per-task"});
  }
}

/// NCCL and Open MPI take names of network interfaces. They hang when an interface does not exist.
void check_interfaces(std::vector<Finding>& findings) {
  for (const char* variable : {"NCCL_SOCKET_IFNAME", "OMPI_MCA_btl_tcp_if_include"}) {
    const char* text = std::getenv(variable);
    if (!text || *text == '^' || *text == '=') continue;
    std::istringstream names(text);
    bool has_any = false;
    for (std::string name; std::getline(names, name, ',');) {
      if (name.find('/') != std::string::npos) has_any = true;  // an address range
      struct if_nameindex* all = if_nameindex();
      for (auto* one = all; one && one->if_index != 0; ++one) {
        has_any |= std::string(one->if_name).starts_with(name);
      }
      if (all) if_freenameindex(all);
    }
    if (has_any) continue;
    findings.push_back({"network interface",
                        fmt::format("{}={} names no interface of this host", variable, text),
                        fmt::format("unset {} or name one that 'ip link' shows", variable)});
  }
}

void check_gpus(const std::string& device, World& world, std::vector<Finding>& findings) {
  try {
    choose_device(device, world);
  } catch (const Error& error) {
    findings.push_back({"GPU", error.what(),
                        "make as many GPUs visible as the host has ranks (CUDA_VISIBLE_DEVICES, "
                        "--gpus-per-node), or set run.device=cpu",
                        ExitCode::kUsage});
  }
}

void check_locks(const fs::path& folder, std::vector<Finding>& findings) {
  const fs::path path = folder / fmt::format(".kiln-doctor-{}", getpid());
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) {
    findings.push_back({"run folder",
                        fmt::format("cannot write in {}: {}", folder.string(), strerror(errno)),
                        "choose another run.dir", ExitCode::kCheckpoint});
    return;
  }
  if (flock(file, LOCK_EX | LOCK_NB) != 0) {
    findings.push_back({"file locks",
                        fmt::format("{} does not lock files: {}", folder.string(), strerror(errno)),
                        "mount it with locks (NFS: local_lock or lockd; Lustre: -o flock), or "
                        "choose another run.dir: two runs in one folder are then told apart by "
                        "their beat only",
                        ExitCode::kCheckpoint});
  }
  close(file);
  unlink(path.c_str());
}

}  // namespace

std::vector<Finding> check_launcher() {
  const bool has_mpi =
      std::getenv("OMPI_COMM_WORLD_SIZE") || std::getenv("PMIX_RANK") || std::getenv("PMI_RANK");
  const int size = launcher_rank().size;
  if (size == 1 || has_mpi) return {};
  return {
      {"launcher",
       fmt::format("srun started {} tasks, but gave them no way to meet: each would train on its "
                   "own",
                   size),
       "use srun --mpi=pmix ('srun --mpi=list' shows what this Slurm has), or mpirun"}};
}

std::vector<Finding> check_machine(const World& world, const std::string& device) {
  std::vector<Finding> findings;
  check_limits(findings);
  check_shared_memory(world, findings);
  check_processors(world, findings);
  check_interfaces(findings);
  check_gpus(device, const_cast<World&>(world), findings);
  return findings;
}

std::vector<Finding> check_folders(const TrainingSetup& setup) {
  std::vector<Finding> findings;
  const fs::path folder = existing_part(setup.recipe.run.dir);
  check_locks(folder, findings);
  const auto one = static_cast<double>(checkpoint_bytes(setup));
  // The one being written and those kept.
  const double needed = one * static_cast<double>(setup.recipe.checkpoint.keep + 1);
  if (const double available = free_bytes(folder); available >= 0 && available < needed) {
    findings.push_back({"disk space",
                        fmt::format("{} has {} free; {} checkpoints of {} need {}", folder.string(),
                                    format_bytes(available), setup.recipe.checkpoint.keep + 1,
                                    format_bytes(one), format_bytes(needed)),
                        "make room, set checkpoint.keep lower, or choose another run.dir",
                        ExitCode::kCheckpoint});
  }
  if (const rlim_t most = limit_of(RLIMIT_FSIZE); static_cast<double>(most) < one) {
    findings.push_back({"file size",
                        fmt::format("a file may have {}, a checkpoint needs up to {}",
                                    format_bytes(static_cast<double>(most)), format_bytes(one)),
                        "raise it: ulimit -f unlimited", ExitCode::kCheckpoint});
  }
  return findings;
}

}  // namespace kiln
