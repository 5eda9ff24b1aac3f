#include "core/report/activity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>

namespace kiln {
namespace {

struct State {
  std::mutex mutex;
  std::string text;
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  std::int64_t since_unix_ms = 0;
  ActivitySlot* slot = nullptr;
};

State& state() {
  static State* const instance = new State;  // outlives every thread that still reads it at exit
  return *instance;
}

void write_slot(const State& from) {
  if (from.slot == nullptr) return;
  const std::size_t length = std::min(from.text.size(), sizeof(from.slot->text) - 1);
  std::memcpy(from.slot->text, from.text.data(), length);
  from.slot->text[length] = '\0';
  from.slot->since_unix_ms = from.since_unix_ms;
}

}  // namespace

void set_activity(const std::string& text) {
  using namespace std::chrono;
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.text = text;
  s.since = steady_clock::now();
  s.since_unix_ms = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  write_slot(s);
}

Activity current_activity() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - s.since;
  return {s.text, age.count()};
}

std::string describe_activity() {
  const Activity activity = current_activity();
  return activity.text.empty() ? ""
                               : fmt::format("{} (for {:.0f} s)", activity.text, activity.seconds);
}

void keep_activity_in(ActivitySlot* slot) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.slot = slot;
  write_slot(s);
}

}  // namespace kiln
