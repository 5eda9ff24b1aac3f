#include <CLI/CLI.hpp>
#include <memory>

#include "launch/command.h"
#include "launch/supervisor.h"

namespace kiln {

std::function<CommandResult()> declare_launch(CLI::App& app) {
  auto options = std::make_shared<SupervisorOptions>();
  app.add_option("--np", options->num_ranks, "Ranks to start (-np N works too).")
      ->required()
      ->check(CLI::PositiveNumber);
  auto* hosts = app.add_option("--hosts", options->hosts, "Hosts and ranks on each: a:8,b:8.");
  app.add_option("--hostfile", options->hostfile, "The same as a file, a line \"a slots=8\" each.")
      ->check(CLI::ExistingFile)
      ->excludes(hosts);
  app.add_option("command", options->command, "After --: the kiln command every rank runs.")
      ->required();
  set_examples(
      app,
      "  kiln launch -np 8 -- train configs/mae_base_imagenet.toml\n"
      "  kiln launch -np 16 --hosts a:8,b:8 -- train RECIPE train.epochs=100\n\n"
      "SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 save a checkpoint on all ranks and end with 75: the\n"
      "same command goes on from there. A second one ends the ranks at once. A rank that is\n"
      "lost ends the job with 5.");
  return [options] { return CommandResult{supervise(*options)}; };
}

}  // namespace kiln
