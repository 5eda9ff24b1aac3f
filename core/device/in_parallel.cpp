#include "core/device/in_parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

// at::parallel_for is a template that needs `#pragma omp`, and runs on one thread where the
// compiler ignores it. Clang obeys it only with its own runtime, which would start more threads
// beside those of LibTorch. So this file calls the runtime of LibTorch by name, as gcc's code for
// the pragma does.
extern "C" {
void GOMP_parallel(void (*function)(void*), void* data, unsigned num_threads, unsigned flags);
int omp_get_num_threads();
int omp_get_thread_num();
}

namespace kiln {
namespace {

struct Team {
  std::int64_t count, grain;
  c10::function_ref<void(std::int64_t, std::int64_t)> function;
  std::exception_ptr failure = nullptr;
  std::mutex mutex = {};
  // The runtime orders memory accesses between its threads. These calls tell the thread sanitizer.
  std::atomic<bool> is_set = false;
  std::atomic<int> num_done = 0;

  void work() {
    const std::int64_t threads = std::min<std::int64_t>(omp_get_num_threads(), count / grain);
    const std::int64_t share = (count + threads - 1) / threads;
    const std::int64_t begin = omp_get_thread_num() * share;
    if (begin >= count) return;
    const c10::ParallelGuard guard(true);
    try {
      function(begin, std::min(count, begin + share));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
};

void work_in_team(void* data) {
  auto& team = *static_cast<Team*>(data);
  if (team.is_set.load(std::memory_order_acquire)) team.work();
  team.num_done.fetch_add(1, std::memory_order_release);
}

}  // namespace

void in_parallel(std::int64_t count, std::int64_t grain,
                 c10::function_ref<void(std::int64_t, std::int64_t)> function) {
  if (count <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  if (count < 2 * grain || at::in_parallel_region() || at::get_num_threads() == 1) {
    const c10::ParallelGuard guard(true);
    return function(0, count);
  }
  Team team = {.count = count, .grain = grain, .function = function};
  team.is_set.store(true, std::memory_order_release);
  // 0: as many threads as there are. A team of another size would make the runtime start threads
  // anew.
  GOMP_parallel(work_in_team, &team, 0, 0);
  (void)team.num_done.load(std::memory_order_acquire);
  if (team.failure) std::rethrow_exception(team.failure);
}

}  // namespace kiln
