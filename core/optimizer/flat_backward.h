#pragma once

#include <c10/util/ThreadLocalDebugInfo.h>

namespace kiln {

/// The training loop's own backward. While one lives, operators may add a parameter's gradient
/// where it lies in flat memory (flat_parameters.h) instead of handing it to autograd. Nobody else
/// may open one: a gradient that a loss takes for a term of its own (torch::autograd::grad) belongs
/// to that term, not to the step.
///
///   const FlatBackward scope;
///   loss.value.backward();
///
/// Thread safety: a scope belongs to the thread that opens it and, through LibTorch's state of
/// threads, to those on which autograd runs that thread's backward for a device. Ranks that are
/// threads of one process do not see each other's.
class FlatBackward {
 public:
  FlatBackward();
  /// Whether the calling thread runs such a backward.
  static bool is_running();

 private:
  c10::DebugInfoGuard guard_;
};

}  // namespace kiln
