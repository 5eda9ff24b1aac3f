// Ranks that go through a few collectives, of which rank 1 has the fault named by the first word:
// what autopsy_test.cpp runs under mpirun. The second word is the folder for flight records.

#include <signal.h>

#include <chrono>
#include <string>
#include <thread>

#include "core/base/error.h"
#include "core/report/activity.h"
#include "dist/flight_recorder.h"
#include "launch/run/failure.h"
#include "launch/run/world.h"

namespace kiln {
namespace {

constexpr double kTimeout_s = 2.0;

void have_fault(const std::string& fault) {
  if (fault == "stop") raise(SIGSTOP);
  if (fault == "kill") raise(SIGKILL);
  if (fault == "throw") throw data_error("shard-00042.h5 is cut short");
  if (fault == "stall") {
    set_activity("wait for shard-00042.h5");
    std::this_thread::sleep_for(std::chrono::seconds(60));
  }
}

CommandResult run_steps(World& world, const std::string& fault, const std::string& folder) {
  open_flight_record(folder, world.rank());
  for (int step = 1; step <= 6; ++step) {
    set_activity("compute step " + std::to_string(step));
    if (world.rank() == 1 && step == 4) have_fault(fault);
    if (world.rank() == 1 && step == 5 && fault == "skip") continue;
    world.communicator().barrier();
  }
  return {};
}

}  // namespace
}  // namespace kiln

int main(int, char** argv) {
  using namespace kiln;
  try {
    const auto result =
        run_in_world(kTimeout_s, [&](World& world) { return run_steps(world, argv[1], argv[2]); });
    return static_cast<int>(result.code);
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  }
}
