#pragma once

#include <cstdint>
#include <functional>

#include "core/base/work.h"

namespace kiln {

/// Calls work(range) for pieces of at most `piece` items that together cover [0, count), on up to
/// num_threads threads, the caller's among them. Pieces are handed out in order. Rethrows the first
/// failure after all threads have ended.
void parallel_for(std::int64_t count, std::int64_t piece, std::int64_t num_threads,
                  const std::function<void(Range)>& work);

}  // namespace kiln
