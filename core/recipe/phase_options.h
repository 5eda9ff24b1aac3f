#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/recipe/options.h"

// Options that an objective gives defaults for and a recipe has the last word on: the optimizer of
// one phase, [optimizer.PHASE], and a value that changes in the course of a run, [schedule.NAME].

namespace kiln {

/// What one phase does differently from [optimizer] and [train]. An empty member: as there. The
/// recipe's [optimizer.PHASE] takes the place of what the objective gives, member by member.
struct OptimizerOverrides {
  std::optional<std::string> name;
  std::optional<double> lr;         // peak
  std::optional<double> lr_factor;  // of optimizer.lr; without lr
  std::optional<std::vector<double>> betas;
  std::optional<double> eps;
  std::optional<double> weight_decay;
  std::optional<double> momentum;
  std::optional<bool> rate_in_momentum;
  std::optional<double> trust_coefficient;
  std::optional<double> clip_norm;
  std::optional<std::string> clip;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "As optimizer.name, for this phase.", kIdentity);
    visit("lr", lr, "Peak learning rate of this phase.", kIdentity);
    visit("lr_factor", lr_factor, "Instead of lr: the peak is optimizer.lr times this.", kIdentity);
    visit("betas", betas, "As optimizer.betas.", kIdentity);
    visit("eps", eps, "As optimizer.eps.", kIdentity);
    visit("weight_decay", weight_decay, "As optimizer.weight_decay.", kIdentity);
    visit("momentum", momentum, "As optimizer.momentum.", kIdentity);
    visit("rate_in_momentum", rate_in_momentum, "As optimizer.rate_in_momentum.", kIdentity);
    visit("trust_coefficient", trust_coefficient, "As optimizer.trust_coefficient.", kIdentity);
    visit("clip_norm", clip_norm, "As train.clip_norm.", kIdentity);
    visit("clip", clip, "As train.clip.", kIdentity);
  }
};

/// A number as a function of samples seen: equal on all ranks, and nothing to save. With s samples
/// seen before the step, w the warm-up and D the duration, both in samples and from the run's
/// beginning:
///
///   s < w:     warmup_from + (start - warmup_from) s / w
///   constant:  start
///   linear:    start + (end - start) min(1, (s - w) / (D - w))
///   cosine:    end + (start - end) / 2 (1 + cos(pi min(1, (s - w) / (D - w))))
///
/// with per_epoch, s is that at the beginning of its pass over the dataset.
struct ValueScheduleOptions {
  std::string name = "constant";
  double start = 0.0;
  std::optional<double> end;
  double warmup_from = 0.0;
  std::optional<double> warmup_samples, warmup_steps, warmup_epochs;
  std::optional<double> duration_samples, duration_steps, duration_epochs;
  bool per_epoch = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "constant | linear | cosine", kIdentity);
    visit("start", start, "Value at the beginning, after the warm-up.", kIdentity);
    visit("end", end, "Value at the end of the duration and from then on.", kIdentity);
    visit("warmup_from", warmup_from, "Value at which the linear warm-up begins.", kIdentity);
    visit("warmup_samples", warmup_samples, "Length of the warm-up; 0: none.", kIdentity);
    visit("warmup_steps", warmup_steps, "The same in steps.", kIdentity);
    visit("warmup_epochs", warmup_epochs, "The same in passes over the dataset.", kIdentity);
    visit("duration_samples", duration_samples,
          "From the run's beginning to the value `end`; default: the whole run.", kIdentity);
    visit("duration_steps", duration_steps, "The same in steps.", kIdentity);
    visit("duration_epochs", duration_epochs, "The same in passes over the dataset.", kIdentity);
    visit("per_epoch", per_epoch, "The value changes only where a pass over the dataset begins.",
          kIdentity);
  }
};

}  // namespace kiln
