#pragma once

#include <string>

// What Kiln asks of the MPI library and its launcher beyond the standard, in one place: Open MPI 4.1
// and 5 call it by different names, and each ignores those of the other. All are environment
// variables, and what the user has set stays. Other MPI libraries ignore them.

namespace kiln {

/// For a rank, before MPI is initialised.
void set_rank_parameters();

/// For mpirun and the ranks that it starts.
void set_launcher_parameters();

/// Name and version of the library that the program runs with, e.g. "Open MPI v4.1.4".
std::string mpi_library();

}  // namespace kiln
