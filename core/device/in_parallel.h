#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace kiln {

/// Calls function(begin, end) for ranges that together cover [0, count), each of at least `grain`
/// but the last, on the threads that LibTorch's operators use (at::set_num_threads), the caller's
/// among them. Within such a call it runs on the caller's thread alone. Rethrows a failure after
/// all have ended.
///
/// What is written must not depend on how [0, count) is cut: the number of threads is not part of a
/// run's result.
void in_parallel(std::int64_t count, std::int64_t grain,
                 c10::function_ref<void(std::int64_t, std::int64_t)> function);

}  // namespace kiln
