#include "launch/world.h"

#include <chrono>
#include <cstdint>

#include "launch/failure.h"

namespace kiln {

CommandResult run_in_world(double timeout_s, const std::function<CommandResult(World&)>& body) {
  World world({.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1e3))});
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
