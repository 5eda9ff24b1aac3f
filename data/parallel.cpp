#include "data/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace kiln {

void parallel_for(std::int64_t count, std::int64_t piece, std::int64_t num_threads,
                  const std::function<void(Range)>& work) {
  std::atomic<std::int64_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (Range range; (range.begin = next.fetch_add(piece)) < count;) {
        range.end = std::min(range.begin + piece, count);
        work(range);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> threads;
    const std::int64_t num_pieces = (count + piece - 1) / piece;
    for (std::int64_t i = 1; i < std::min(num_threads, num_pieces); ++i) threads.emplace_back(run);
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kiln
