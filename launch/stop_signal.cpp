#include "launch/stop_signal.h"

#include <csignal>
#include <initializer_list>

namespace kiln {

namespace {

volatile std::sig_atomic_t stop_requested = 0;

void on_signal(int number) {
  if (number == SIGINT && stop_requested) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  stop_requested = 1;
}

}  // namespace

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGTERM, SIGUSR1, SIGINT}) sigaction(number, &action, nullptr);
}

bool is_stop_requested() { return stop_requested != 0; }

}  // namespace kiln
