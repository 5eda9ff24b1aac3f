#pragma once

#include <vector>

#include "core/optimizer/optimizer.h"
#include "tests/parity/report.h"

namespace kiln::parity {

/// Parameters with the product's optimizer around them, as one rank trains: flat memory, a slice
/// per bucket, clipping by the global norm. For cases that store several steps.
class Trainee {
 public:
  Trainee(std::vector<Parameter> parameters, const OptimizerOptions& options);

  void zero_gradients() { flat_.zero_gradients(); }
  /// The gradient of `name` as autograd would have left it.
  void set_gradient(const std::string& name, const at::Tensor& gradient);
  /// 2-norm of all gradients.
  double gradient_norm() const;
  /// 2-norm of each parameter's gradient, in the order of names().
  std::vector<double> gradient_norms() const;
  /// One update from the gradients at hand, clipped to `clip_norm` (0: off).
  void step(double lr, double clip_norm);
  /// The same with everything given; the number of the update is counted here.
  void step(StepScalars scalars);

  at::Tensor value(const std::string& name) const;
  /// Moment `index` of the optimizer, in the parameter's shape.
  at::Tensor moment(const std::string& name, std::size_t index) const;
  std::vector<std::string> names() const;

 private:
  std::size_t index_of(const std::string& name) const;

  Optimizer optimizer_;
  FlatParameters flat_;
  std::vector<Slice> slices_;
  std::int64_t num_updates_ = 0;
};

/// AdamW with a case's "betas", "eps" and "wd".
OptimizerOptions adamw_of(const nlohmann::json& info);

/// Bounds of several steps of training. The optimizer's master weights are fp32 in any mode.
inline constexpr Bound kTrainedWeights{1e-5, 0.0};
/// The case's `losses` and `grad_norms` of every step, and the same from a run in double.
void compare_training(const Case& reference, Report& report, const std::vector<double>& losses,
                      const std::vector<double>& norms);

}  // namespace kiln::parity
