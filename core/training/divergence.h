#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/recipe/recipe.h"

namespace kiln {

/// A step that was judged bad. The same on all ranks.
struct Divergence {
  std::int64_t step = 0;  // counted from 1
  std::string phase = {};
  std::string reason = {};  // "the gradient is not finite (2-norm nan)"
  std::string action = {};  // stop | skip | rollback
  double loss = 0.0;
  double grad_norm = 0.0;
  std::int64_t first_position = 0;  // of the step
  std::int64_t micro_batch = 0;     // samples in each
  std::vector<double> losses = {};  // each micro-batch's share of the loss; coupled phases: none
  /// Micro-batches whose loss is not finite; where all are, the one with the largest.
  std::vector<std::int64_t> suspects = {};

  /// One sentence: step, reason, suspects and their positions.
  std::string describe() const;
};

/// Fills in `suspects` from `losses`.
void find_suspects(Divergence& divergence);

/// Says whether a step's loss and gradient norm are what they should be, from reduced values alone,
/// so that all ranks say the same. Outliers are values above mean + sigma * deviation, both moving
/// with a horizon of `window` accepted steps; none are seen before so many were accepted.
///
/// Its state is a few integers of the checkpoint, so a resume judges as the whole run would.
class DivergenceJudge {
 public:
  explicit DivergenceJudge(const DivergenceOptions& options) : options_(options) {}

  /// Whether the loss must be reduced in every step: one small sum.
  bool needs_loss() const { return options_.action != "stop" || options_.loss_sigma > 0; }
  /// What is wrong with a phase's values; empty: nothing. They are also held against those before,
  /// of the same phase. Phase "" is the first.
  std::string verdict(const std::string& phase, double loss, double grad_norm) const;
  /// Values of one phase of a step that was taken.
  void accept(const std::string& phase, double loss, double grad_norm);
  /// After the phases of a step that was taken.
  void end_good_step();
  /// A bad step; false: one too many, the run must end.
  bool tolerate();

  void save(std::map<std::string, std::int64_t>& state) const;
  /// Missing entries leave what is there: checkpoints may be older than a key of the recipe.
  void load(const std::map<std::string, std::int64_t>& state);

 private:
  struct Moments {
    double mean = 0.0;
    double variance = 0.0;
    std::int64_t count = 0;
    void add(double value, double horizon);
    double limit(double sigma) const;
  };
  bool is_outlier(const Moments& moments, double value, double sigma) const;

  struct History {
    Moments loss, norm;
  };

  DivergenceOptions options_;
  std::map<std::string, History> phases_;
  std::int64_t num_bad_ = 0;   // since the last quiet window
  std::int64_t num_good_ = 0;  // since the last bad one
};

}  // namespace kiln
