#include "launch/main.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <iostream>

#include "core/base/launcher_rank.h"
#include "core/base/nearest_name.h"
#include "core/device/host_memory.h"
#include "core/report/log.h"
#include "launch/commands/command.h"
#include "launch/run/failure.h"

namespace kiln {

// The program's own answer to MKL; called here, or the linker would leave it out.
extern "C" int mkl_serv_intel_cpu_true();

namespace {

constexpr const char* kDescription =
    "Kiln pretrains masked autoencoders, language models and diffusion models on any number of\n"
    "ranks, from an image folder to an evaluated checkpoint.";
constexpr const char* kFooter =
    "\nA first run:      bash launch/demo.sh\n"
    "One machine:      kiln launch -np 8 -- train configs/mae_tiny_fashion.toml\n"
    "Any cluster:      mpirun -np 64 kiln train RECIPE      srun --mpi=pmix kiln train RECIPE\n"
    "\nExit status: 0 done; 1 internal error; 2 usage or recipe; 3 data; 4 checkpoint; 5 "
    "communication\n"
    "or a lost rank; 6 diverged; 75 stopped by a signal after saving (run the same command again).";

void check_command_name(const std::vector<std::string>& words) {
  if (words[0].starts_with("-")) return;
  std::vector<std::string> names;
  for (const Command& command : command_table()) names.push_back(command.name);
  if (std::ranges::find(names, words[0]) == names.end()) {
    throw usage_error("{}", unknown_name("command", words[0], names));
  }
}

CommandResult run(std::vector<std::string> words) {
  CLI::App app(kDescription, "kiln");
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Prints this.");
  bool json = false;
  std::function<CommandResult()> chosen;
  for (const Command& command : command_table()) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    if (command.has_json) {
      sub->add_flag("--json", json, "Prints the result as one JSON object on the last line.");
    }
    sub->final_callback([&chosen, run = command.declare(*sub)] { chosen = run; });
    for (CLI::App* nested : sub->get_subcommands([](CLI::App*) { return true; })) {
      nested->fallthrough();  // so that --json may stand after it
    }
  }
  app.footer(kFooter);  // not before: subcommands would inherit it
  if (words.empty()) {
    if (launcher_rank().rank == 0) std::cout << app.help();
    return {ExitCode::kUsage};
  }
  check_command_name(words);
  // CLI11 wants one letter after one dash; MPI's users write -np.
  for (std::string& word : words) {
    if (word == "--") break;
    if (word == "-np") word = "--np";
  }
  std::ranges::reverse(words);  // CLI11 takes them from the back
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    const bool is_help = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    if (!is_help) throw usage_error("{} (see kiln --help)", error.what());
    if (launcher_rank().rank == 0) app.exit(error);
    return {};
  }
  CommandResult result = chosen();
  if (json && launcher_rank().rank == 0) {
    using Json = nlohmann::json;
    // Names of files need not be UTF-8.
    std::cout << result.json.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }
  return result;
}

}  // namespace

int kiln_main(int argc, char** argv, std::span<const ModelEntry> models) {
  mkl_serv_intel_cpu_true();
  start_logging(launcher_rank().rank);
  keep_host_memory();
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond its limit is a write that fails, not a death
  try {
    add_models(models);
    const ExitCode code = run({argv + 1, argv + argc}).code;
    leave_note(code);
    return static_cast<int>(code);
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(ExitCode::kData, error.what());
  } catch (const std::exception& error) {
    return fail(ExitCode::kInternal, error.what());
  }
}

}  // namespace kiln
