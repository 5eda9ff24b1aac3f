#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "core/optimizer/flat_parameters.h"

namespace kiln {

/// Tells when backward has added a parameter's gradient to flat memory. The hooks stay on the
/// parameters for the lifetime of this object; a parameter has one such hook at most.
///
/// Thread safety: called by the thread that autograd runs backward on, one call at a time.
class BucketHooks {
 public:
  /// `on_gradient(i)` is called after the gradient of flat.entries()[i] has been accumulated.
  BucketHooks(const FlatParameters& flat, std::function<void(std::size_t)> on_gradient);
  ~BucketHooks();
  BucketHooks(const BucketHooks&) = delete;
  BucketHooks& operator=(const BucketHooks&) = delete;

 private:
  std::vector<at::Tensor> tensors_;
};

}  // namespace kiln
