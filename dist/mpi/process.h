#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/communicator.h"

namespace kiln {

struct ProcessOptions {
  /// Of every operation of communicator().
  std::chrono::milliseconds timeout{600'000};
};

/// This process as one of the ranks that a launcher started. There is one per program, made before
/// anything communicates and destroyed after everything durable is done: its end is MPI_Finalize.
///
/// Started alone, it never touches MPI. As one of several it is killed when its launcher dies. When
/// it is destroyed by an exception, MPI is not finalised either (that would wait for ranks that may
/// never come): main() prints the error and exits with its code, which makes the launcher end the
/// other ranks.
class Process {
 public:
  /// Throws Error(kCommunication) when the launcher's and the program's MPI do not match, and
  /// Error(kUsage) when ranks run different programs. Warns when ranks are bound to fewer
  /// processors than they could have.
  explicit Process(ProcessOptions options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Over all ranks, for host tensors.
  Communicator& communicator() { return *communicator_; }
  int rank() const { return communicator_->rank(); }
  int size() const { return communicator_->size(); }
  /// Which of the ranks on this host this is, and of how many.
  int rank_on_node() const { return rank_on_node_; }
  int ranks_on_node() const { return ranks_on_node_; }
  /// Name of every rank's host.
  const std::vector<std::string>& hosts() const { return hosts_; }
  /// Processors this rank may use, shared fairly with the others of its host; at least 1.
  std::int64_t cores() const;

 private:
  std::unique_ptr<Communicator> communicator_;
  bool has_mpi_ = false;
  std::vector<std::string> hosts_;
  int rank_on_node_ = 0;
  int ranks_on_node_ = 1;
};

/// Processors this thread may run on, and those of the machine.
int num_usable_processors();
int num_processors();

/// What is wrong with `num_usable` of `num_processors` for one of `num_ranks` ranks of a host;
/// empty: nothing.
std::string affinity_warning(int num_usable, int num_processors, int num_ranks);
/// Share of one of `num_ranks` ranks: what the launcher bound it to, or an equal part of what all
/// of them may use; at least 1.
int fair_share(int num_usable, int num_processors, int num_ranks);

/// xxh3-128 of the running program's file.
std::string program_hash();

}  // namespace kiln
