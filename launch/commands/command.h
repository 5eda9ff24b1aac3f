#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/run/result.h"

namespace CLI {
class App;
}

namespace kiln {

struct PictureOptions;

/// One word after `kiln`. Adding a command is one file with a declare function and one row in
/// command_table.cpp.
struct Command {
  std::string name;
  std::string summary;  // one line of `kiln --help`
  bool has_json = false;
  /// Declares arguments, options and help text on `app`, and returns what runs when this command
  /// was chosen. Errors are thrown as kiln::Error.
  std::function<CommandResult()> (*declare)(CLI::App& app);
};

const std::vector<Command>& command_table();

// One file each: command_NAME.cpp.
std::function<CommandResult()> declare_bench(CLI::App& app);
std::function<CommandResult()> declare_checkpoint(CLI::App& app);
std::function<CommandResult()> declare_data(CLI::App& app);
std::function<CommandResult()> declare_doctor(CLI::App& app);
std::function<CommandResult()> declare_encode(CLI::App& app);
std::function<CommandResult()> declare_eval(CLI::App& app);
std::function<CommandResult()> declare_export(CLI::App& app);
std::function<CommandResult()> declare_import(CLI::App& app);
std::function<CommandResult()> declare_launch(CLI::App& app);
std::function<CommandResult()> declare_replay(CLI::App& app);
std::function<CommandResult()> declare_report(CLI::App& app);
std::function<CommandResult()> declare_sample(CLI::App& app);
std::function<CommandResult()> declare_tokenizer(CLI::App& app);
std::function<CommandResult()> declare_train(CLI::App& app);

/// Options that say how pictures are drawn: of `kiln sample`, and of evaluations that draw some.
void add_picture_options(CLI::App& app, PictureOptions& options);

/// The help text below the options: examples.
void set_examples(CLI::App& app, const std::string& text);

}  // namespace kiln
