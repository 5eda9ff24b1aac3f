#pragma once

#include <cstdint>
#include <string>

namespace kiln {

/// What this process is doing, for the other ranks when they wait for it in vain: "compute step
/// 12", "wait for shard-00042.h5", "save step 100". The loop sets it at each change; the cost is
/// negligible. Thread safe.
void set_activity(const std::string& text);

struct Activity {
  std::string text;
  double seconds = 0;  // since it began
};
Activity current_activity();
/// "compute step 12 (for 61 s)"; empty before the first one.
std::string describe_activity();

/// From now on the activity is also kept in `slot`: memory that others can read when this process
/// is dead or stuck. Owned by the caller, who never frees it.
struct ActivitySlot {
  std::int64_t since_unix_ms = 0;
  char text[120] = {};
};
void keep_activity_in(ActivitySlot* slot);

}  // namespace kiln
