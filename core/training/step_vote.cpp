#include "core/training/step_vote.h"

#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

enum Slot : std::int64_t { kStep, kStop, kSaved, kFailed, kShortOfTime, kFirstWeight };
constexpr std::int64_t kSlots = 20;

std::int64_t exact_integer(const std::string& name, double value) {
  KILN_CHECK(std::abs(value) < 0x1p53 && value == std::floor(value),
             "denominator '{}' = {} is no integer", name, value);
  return static_cast<std::int64_t>(value);
}

}  // namespace

void StepVote::cast(const Ballot& ballot) {
  KILN_CHECK(!is_outstanding_, "a vote is outstanding");
  KILN_CHECK(kFirstWeight + static_cast<std::int64_t>(ballot.denominators.size()) <= kSlots,
             "{} denominators", ballot.denominators.size());
  counts_ = at::zeros({kSlots}, at::kLong);
  auto* counts = counts_.data_ptr<std::int64_t>();
  counts[kStep] = ballot.step;
  counts[kStop] = ballot.is_stop_requested;
  counts[kSaved] = ballot.has_saved;
  counts[kFailed] = ballot.has_failed_to_save;
  counts[kShortOfTime] = ballot.is_short_of_time;
  names_.clear();
  for (const auto& [name, weight] : ballot.denominators) {
    counts[kFirstWeight + static_cast<std::int64_t>(names_.size())] = exact_integer(name, weight);
    names_.push_back(name);
  }
  step_ = ballot.step;
  work_ = communicator_.all_reduce(counts_);
  is_outstanding_ = true;
}

const StepVote::Result& StepVote::result() {
  if (!is_outstanding_) return result_;
  work_.wait();
  is_outstanding_ = false;
  const auto* counts = counts_.data_ptr<std::int64_t>();
  KILN_CHECK(counts[kStep] == step_ * communicator_.size(),
             "ranks are not in the same step: this one is in {}", step_);
  result_ = {};
  result_.is_stop_requested = counts[kStop] > 0;
  result_.is_short_of_time = counts[kShortOfTime] > 0;
  result_.num_saved = static_cast<int>(counts[kSaved]);
  result_.num_failed_to_save = static_cast<int>(counts[kFailed]);
  for (std::size_t i = 0; i < names_.size(); ++i) {
    result_.denominators[names_[i]] =
        static_cast<double>(counts[kFirstWeight + static_cast<std::int64_t>(i)]);
  }
  return result_;
}

const StepVote::Result& StepVote::poll(const Ballot& ballot) {
  cast(ballot);
  return result();
}

std::map<std::string, double> sum_of_denominators(const std::vector<Batch>& batches) {
  std::map<std::string, double> sums;
  for (const Batch& batch : batches) {
    for (const auto& [name, weight] : batch.denominators) sums[name] += weight;
  }
  return sums;
}

}  // namespace kiln
