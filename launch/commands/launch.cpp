#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>

#include "launch/commands/command.h"
#include "launch/supervise/supervisor.h"

namespace kiln {

namespace {

struct Args {
  std::string hosts;
  std::string hostfile;
  SupervisorOptions options = {.num_ranks = 0};
};

std::int64_t default_ranks(const std::vector<Host>& hosts) {
  if (!hosts.empty()) return num_slots(hosts);
  const char* tasks = std::getenv("SLURM_NTASKS");
  if (tasks && std::atoll(tasks) > 0) return std::atoll(tasks);
  throw usage_error("how many ranks? kiln launch -np N -- train RECIPE");
}

CommandResult launch(Args args) {
  SupervisorOptions& options = args.options;
  if (!args.hosts.empty()) options.hosts = parse_hosts(args.hosts);
  if (!args.hostfile.empty()) options.hosts = read_hostfile(args.hostfile);
  if (options.num_ranks == 0) options.num_ranks = default_ranks(options.hosts);
  if (!options.hosts.empty() && options.num_ranks > num_slots(options.hosts)) {
    throw usage_error("-np {}: the hosts named have {} slots together ({})", options.num_ranks,
                      num_slots(options.hosts), to_text(options.hosts));
  }
  return {supervise(options)};
}

}  // namespace

std::function<CommandResult()> declare_launch(CLI::App& app) {
  auto args = std::make_shared<Args>();
  SupervisorOptions& options = args->options;
  app.add_option("--np", options.num_ranks,
                 "Ranks to start (-np N works too); default: the slots of the hosts.")
      ->check(CLI::PositiveNumber);
  auto* hosts = app.add_option("--hosts", args->hosts, "Hosts and ranks on each: a:8,b:8.");
  app.add_option("--hostfile", args->hostfile, "The same as a file, a line \"a slots=8\" each.")
      ->check(CLI::ExistingFile)
      ->excludes(hosts);
  app.add_option("--max-restarts", options.max_restarts,
                 "Restarts in a row without a newer checkpoint (default 3).")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--backoff", options.backoff_s,
                 "Seconds before the first restart; doubles up to a minute (default 1).")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--grace", options.grace_s,
                 "Seconds ranks have to save after a signal (default 120).")
      ->check(CLI::PositiveNumber);
  app.add_option("--ready-limit", options.ready_limit_s,
                 "Seconds until all ranks must have met (default 300).")
      ->check(CLI::PositiveNumber);
  app.add_option("command", options.command, "After --: the kiln command every rank runs.")
      ->required();
  set_examples(
      app,
      "  kiln launch -np 8 -- train configs/mae_base_imagenet.toml\n"
      "  kiln launch --hosts a:8,b:8 -- train RECIPE train.epochs=100\n\n"
      "When a rank, a host or mpirun is lost, training starts again from the newest valid\n"
      "checkpoint, on the hosts that still answer; RUN/launch tells why each attempt ended.\n"
      "SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 save a checkpoint on all ranks and end with 75: the\n"
      "same command goes on from there. A second one ends the ranks at once. Inside a Slurm\n"
      "allocation ranks are started by srun.");
  return [args] { return launch(*args); };
}

}  // namespace kiln
