#include "launch/report/report.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <vector>

#include "core/base/launcher_rank.h"
#include "launch/commands/command.h"

namespace kiln {

std::function<CommandResult()> declare_report(CLI::App& app) {
  struct Args {
    std::vector<std::filesystem::path> runs;
    std::filesystem::path out;
  };
  auto args = std::make_shared<Args>();
  app.add_option("runs", args->runs,
                 "Run folders; a run may still be going on. Several are laid over one another.")
      ->required();
  app.add_option("--out", args->out, "Where the page goes; report.html in the first run's folder.");
  set_examples(app,
               "  kiln report runs/mae_tiny_fashion      writes runs/mae_tiny_fashion/report.html\n"
               "  kiln report runs/a runs/b --out both.html");
  return [args] {
    if (launcher_rank().rank == 0)
      std::cout << write_report(args->runs, args->out).string() << "\n";
    return CommandResult{};
  };
}

}  // namespace kiln
