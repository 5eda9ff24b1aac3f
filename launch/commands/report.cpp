#include "launch/report/report.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "core/base/launcher_rank.h"
#include "launch/commands/command.h"

namespace kiln {

std::function<CommandResult()> declare_report(CLI::App& app) {
  auto run = std::make_shared<std::string>();
  app.add_option("run", *run, "Run folder; the run may still be going on.")->required();
  set_examples(app,
               "  kiln report runs/mae_tiny_fashion      writes runs/mae_tiny_fashion/report.html");
  return [run] {
    if (launcher_rank().rank == 0) std::cout << write_report(*run).string() << "\n";
    return CommandResult{};
  };
}

}  // namespace kiln
