#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "core/base/philox.h"
#include "models/kernels/dropout_site.h"

namespace kiln {

/// Draws the masks of all dropout sites of one forward pass, in order of execution, from
/// Philox(seed, kDropout, position of the micro-batch's first sample): equal on any rank and
/// device.
///
/// Default-constructed it is the identity, which is what evaluation passes. A copy taken before a
/// block draws the same masks again when the block is recomputed.
class DropoutStream {
 public:
  DropoutStream() = default;
  DropoutStream(std::uint64_t seed, std::int64_t position)
      : stream_(seed, Purpose::kDropout, position), is_active_(true) {}

  bool is_active() const { return is_active_; }

  /// Zeroes each element with probability p and divides the others by 1 - p (Srivastava et al.,
  /// JMLR 15, 2014).
  at::Tensor dropout(const at::Tensor& x, double p);
  /// The next site, for operators that draw its factors themselves; nullopt where dropout() would
  /// be the identity.
  std::optional<DropoutSite> site(double p);
  /// Stochastic depth (Huang et al., arXiv:1603.09382): the same for whole samples, dimension 0.
  at::Tensor drop_path(const at::Tensor& x, double p);

 private:
  Philox stream_{0, Purpose::kDropout, 0};
  std::uint64_t site_ = 0;
  bool is_active_ = false;
};

/// The factors of a site's elements: [shape].
at::Tensor keep_factors(const DropoutSite& site, at::IntArrayRef shape,
                        const at::TensorOptions& options);

}  // namespace kiln
