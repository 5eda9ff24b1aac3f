#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/types.h"

namespace kiln {

/// Everything all ranks must agree on, in one small host all-reduce a step. It is cast while the
/// step before computes, so that nobody waits for it.
///
///   vote.cast({...});      // a step ahead
///   ... the step ...
///   vote.result();         // equal on all ranks
///
/// Thread safety: one thread calls, the one that uses the communicator.
class StepVote {
 public:
  struct Ballot {
    std::int64_t step = 0;  // checked: ranks that are not in the same step are a bug
    bool is_stop_requested = false;
    bool has_saved = false;  // this rank's checkpoint files are durable
    bool has_failed_to_save = false;
    bool is_short_of_time = false;  // this rank would be killed in the middle of another save
    /// Denominators of the next step's micro-batches of this rank, added up. Integers. Every rank
    /// that has micro-batches gives the same names.
    std::map<std::string, double> denominators;
  };
  struct Result {
    bool is_stop_requested = false;  // on any rank
    int num_saved = 0;
    int num_failed_to_save = 0;
    bool is_short_of_time = false;  // any rank
    std::map<std::string, double>
        denominators;  // over the global batch; empty on ranks that gave none
  };

  explicit StepVote(Communicator& communicator) : communicator_(communicator) {}

  void cast(const Ballot& ballot);
  bool is_outstanding() const { return is_outstanding_; }
  /// Of the vote last cast; waits for it the first time.
  const Result& result();
  /// Casts and waits. Must not be called with a vote outstanding.
  const Result& poll(const Ballot& ballot);

 private:
  Communicator& communicator_;
  at::Tensor counts_;  // [kSlots] int64
  Work work_;
  std::int64_t step_ = 0;
  std::vector<std::string> names_;
  bool is_outstanding_ = false;
  Result result_;
};

/// Denominators of several micro-batches added up.
std::map<std::string, double> sum_of_denominators(const std::vector<Batch>& batches);

}  // namespace kiln
