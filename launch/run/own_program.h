#pragma once

#include <string>

namespace kiln {

/// What starts this program again, here or on another host: the script that an installation puts
/// before it (launch/run_installed.sh names itself in KILN_PROGRAM), or else its file.
std::string own_program();

}  // namespace kiln
