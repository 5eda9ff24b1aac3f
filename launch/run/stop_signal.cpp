#include "launch/run/stop_signal.h"

#include <time.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <initializer_list>

namespace kiln {

namespace {

std::atomic<std::int64_t> requested_ns = 0;  // 0: not yet
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // allowed in a handler
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void on_signal(int number) {
  if (number == SIGINT && requested_ns != 0) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  if (requested_ns == 0) requested_ns = now_ns();
}

}  // namespace

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGTERM, SIGUSR1, SIGINT}) sigaction(number, &action, nullptr);
}

bool is_stop_requested() { return requested_ns != 0; }

double stop_age_s() {
  const std::int64_t since = requested_ns;
  return since == 0 ? 0.0 : static_cast<double>(now_ns() - since) * 1e-9;
}

}  // namespace kiln
