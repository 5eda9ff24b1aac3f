#pragma once

#include <span>

#include "models/registry.h"

namespace kiln {

/// The program kiln as a function: parses the command line, runs the command, reports errors, and
/// returns the exit status. `models`: families of the caller's own, which every command then knows
/// beside those of Kiln. A program of one's own is
///
///   int main(int argc, char** argv) { return kiln::kiln_main(argc, argv, my_models); }
///
/// Called once, before anything else.
int kiln_main(int argc, char** argv, std::span<const ModelEntry> models = {});

}  // namespace kiln
