#include "launch/run/world.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>

#include "launch/run/failure.h"

namespace kiln {

namespace {

/// All ranks have met: from now on a supervisor passes signals on instead of ending the job. Each
/// rank had its handlers before it came here.
void tell_supervisor(const World& world) {
  const char* note = std::getenv("KILN_READY_NOTE");
  if (note && world.rank() == 0) std::ofstream(note) << world.size() << "\n";
}

}  // namespace

CommandResult run_in_world(double timeout_s, const std::function<CommandResult(World&)>& body) {
  World world({.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1e3))});
  tell_supervisor(world);
  if (world.size() == 1) return body(world);
  const auto end_all = [&](ExitCode code, const char* message) {
    world.communicator().abort(fail(code, message));
  };
  CommandResult result;
  try {
    result = body(world);
    world.communicator().barrier();
  } catch (const Error& error) {
    end_all(error.code(), error.what());
  } catch (const std::exception& error) {
    end_all(ExitCode::kInternal, error.what());
  }
  return result;
}

}  // namespace kiln
