#pragma once

#include <cstddef>
#include <exception>
#include <map>
#include <mutex>
#include <optional>

namespace kiln {

/// Measures once for each key which of several ways to the same result is the quickest. Thread
/// safe.
template <typename Key>
class MeasuredChoice {
 public:
  /// The number of the quickest of `count` ways. If the key is new, measure(number) gives the
  /// seconds of each; a way for which it throws is passed over. nullopt: none is left.
  template <typename Measure>
  std::optional<std::size_t> choose(const Key& key, std::size_t count, const Measure& measure) {
    const std::lock_guard lock(mutex_);
    const auto found = chosen_.find(key);
    if (found != chosen_.end()) return found->second;
    return chosen_[key] = quickest(count, measure);
  }
  /// What choose() has found; nullopt: not asked yet, or none is left.
  std::optional<std::size_t> known(const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto found = chosen_.find(key);
    return found != chosen_.end() ? found->second : std::nullopt;
  }

 private:
  template <typename Measure>
  static std::optional<std::size_t> quickest(std::size_t count, const Measure& measure) {
    std::optional<std::size_t> best;
    double best_s = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      try {
        const double seconds = measure(i);
        if (best && seconds >= best_s) continue;
        best = i;
        best_s = seconds;
      } catch (const std::exception&) {  // this way does not support the key
      }
    }
    return best;
  }

  std::mutex mutex_;
  std::map<Key, std::optional<std::size_t>> chosen_;
};

}  // namespace kiln
