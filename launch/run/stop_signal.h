#pragma once

namespace kiln {

/// SIGTERM and SIGUSR1 ask for a stop after saving; so does SIGINT (Ctrl-C), the second of which
/// ends the process at once. A signal sets a flag and nothing else.
void install_stop_signals();
bool is_stop_requested();
/// Seconds since the first such signal; 0: none came.
double stop_age_s();

}  // namespace kiln
