#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "tests/parity/case.h"

namespace kiln::parity {

/// Largest difference allowed: max(absolute, relative * largest magnitude of the reference).
struct Bound {
  double absolute = 0.0;
  double relative = 0.0;
};
/// For values computed in double against references in double.
inline constexpr Bound kFloat64Bound{1e-9, 1e-6};
/// The same on a GPU, whose sums have other orders and whose exponentials other roundings than the
/// libraries' that the bounds were found with: ten times as wide, in fp32 at least 1e-4 of the
/// largest magnitude. What must be equal still must.
Bound bound_on(const Case& reference, Bound bound);

/// Compares what our model computed with what a case stores, and counts. A line is printed for each
/// tensor that is out of bounds, of another shape, or stored but never compared.
class Report {
 public:
  explicit Report(const Case& reference) : reference_(reference) {}

  /// Against the stored tensor of this name, with its bound of case.json; integers must be equal.
  /// NAME_f64, the same from a run in double, is compared too where the case stores it: with
  /// kFloat64Bound when we compute in double, else with its own bound.
  void compare(const std::string& name, const at::Tensor& ours);
  void compare(const std::string& name, const at::Tensor& ours, Bound bound);
  /// compare() where the case stores such a tensor: activations, of which each case has its own.
  void compare_if_stored(const std::string& name, const at::Tensor& ours);
  /// Against a value from elsewhere.
  void compare_values(const std::string& name, const at::Tensor& ours, const at::Tensor& reference,
                      Bound bound);
  void compare_value(const std::string& name, double ours, double reference, Bound bound);
  /// Counts one check that either holds or not.
  void expect(bool holds, const std::string& what);
  /// A stored tensor that is no result of ours, or is left out for a reason the case gives.
  void skip(const std::string& name) { seen_.insert(name); }

  /// Fails for every stored output and gradient that was neither compared nor skipped.
  void finish();
  /// {"case": ..., "tensors": ..., "failed": ..., "worst_ratio": ...}
  std::string summary() const;
  std::int64_t num_tensors() const { return num_tensors_; }
  std::int64_t num_failed() const { return num_failed_; }
  double worst_ratio() const { return worst_ratio_; }

 private:
  void fail(const std::string& line);
  Bound bound_of(const std::string& name) const;

  const Case& reference_;
  std::set<std::string> seen_;
  std::int64_t num_tensors_ = 0;
  std::int64_t num_failed_ = 0;
  double worst_ratio_ = 0.0;
};

std::string summary_line(const std::string& name, std::int64_t tensors, std::int64_t failed,
                         double worst_ratio);

}  // namespace kiln::parity
