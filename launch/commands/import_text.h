#pragma once

#include <memory>
#include <string>

#include "data/importers/import.h"
#include "launch/commands/command.h"
#include "launch/run/world.h"

namespace kiln {

/// What `kiln data import text|jsonl` asks beside what all formats share.
struct TextArgs {
  std::string vocabulary;
  bool is_cased = false;
  std::string documents = "file";
  std::string sentences = "auto";
  std::string text_key = "text";
  std::int64_t unit_mb = 64;
};
void declare_text_args(CLI::App& app, const std::shared_ptr<TextArgs>& args);

/// What an import left out, by reason: printed, and as JSON.
void print_left_out(const LeftOut& left_out);
nlohmann::ordered_json to_json(const LeftOut& left_out);

/// Ranks and threads share the shards; rank 0 describes what all have made.
CommandResult import_text_in_world(const std::string& format, const TextArgs& args,
                                   const ImportOptions& options, World& world);

/// What `kiln data info` adds for text: counts, lengths, share of unknown tokens, samples decoded.
/// Printed if `is_printed`, and as JSON.
nlohmann::json describe_text_dataset(const std::string& path, bool is_printed);

}  // namespace kiln
