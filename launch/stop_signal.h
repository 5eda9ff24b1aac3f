#pragma once

namespace kiln {

/// SIGTERM and SIGUSR1 ask for a stop after saving; so does SIGINT (Ctrl-C), the second of which
/// ends the process at once. A signal sets a flag and nothing else.
void install_stop_signals();
bool is_stop_requested();

}  // namespace kiln
