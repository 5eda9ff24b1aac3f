#include "launch/commands/import_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include "core/report/log.h"
#include "core/report/progress_bar.h"
#include "data/importers/text_import.h"
#include "data/text/token_stream.h"

namespace kiln {

void declare_text_args(CLI::App& app, const std::shared_ptr<TextArgs>& args) {
  app.add_option("--vocab", args->vocabulary, "text, jsonl: vocab.txt (kiln tokenizer train).");
  app.add_flag("--cased", args->is_cased, "text, jsonl: keeps case and accents.");
  app.add_option(
      "--documents", args->documents,
      "text: what is a document: file (default), blank_line (between blank lines), line.");
  app.add_option("--sentences", args->sentences,
                 "text: auto (default: found by rule, across line ends) or line (one per line).");
  app.add_option("--text-key", args->text_key, "jsonl: key of a document's text; default text.");
  app.add_option("--unit-mb", args->unit_mb, "text, jsonl: MiB of input per shard; default 64.")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20));
}

void print_left_out(const LeftOut& left_out) {
  for (const auto& [reason, which] : left_out.reasons) {
    fmt::print("  left out {}: {} ({}{})\n", which.count, reason, fmt::join(which.examples, ", "),
               which.count > std::ssize(which.examples) ? ", ..." : "");
  }
}

nlohmann::ordered_json to_json(const LeftOut& left_out) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [reason, which] : left_out.reasons) json[reason] = which.count;
  return json;
}

CommandResult import_text_in_world(const std::string& format, const TextArgs& args,
                                   const ImportOptions& shared, World& world) {
  if (args.vocabulary.empty()) {
    throw usage_error(
        "--vocab is missing: text needs a vocabulary. Make one with "
        "`kiln tokenizer train INPUT... --out vocab.txt`");
  }
  TextImportOptions options;
  options.import = shared;
  options.vocabulary = args.vocabulary;
  options.normalizer = args.is_cased ? NormalizerOptions::cased() : NormalizerOptions{};
  options.is_jsonl = format == "jsonl";
  options.text_key = args.text_key;
  options.documents = args.documents;
  options.sentences = args.sentences;
  options.unit_bytes = args.unit_mb << 20;
  std::unique_ptr<ProgressBar> bar;
  options.import.progress = [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar = std::make_unique<ProgressBar>("import", "shards", total);
    bar->update(done);
  };
  import_text(options);
  bar.reset();
  world.communicator().barrier();
  if (world.rank() != 0) return {};
  const FinishedImport done = finish_text_import(options);
  const Manifest& manifest = done.manifest;
  const auto& facts = manifest.attributes;
  if (facts.at("invalid_sequences") != "0") {
    log_warning("dropped {} invalid UTF-8 sequences", facts.at("invalid_sequences"));
  }
  if (facts.at("document_cuts") != "0") {
    log_warning("documents were cut in {} places, at the ends of units of {} MiB (--unit-mb)",
                facts.at("document_cuts"), args.unit_mb);
  }
  log_info("{}: {}, {} tokens in {}", options.import.out.string(),
           format_count(manifest.num_samples, "document"), facts.at("tokens"),
           format_count(std::ssize(manifest.shards), "shard"));
  print_left_out(done.left_out);
  return {ExitCode::kDone,
          {{"path", options.import.out.string()},
           {"samples", manifest.num_samples},
           {"shards", manifest.shards.size()},
           {"left_out", to_json(done.left_out)},
           {"attributes", facts},
           {"fingerprint", manifest.fingerprint()}}};
}

namespace {

/// The first tokens of some documents spread over a shard, as text.
std::vector<std::string> decoded_samples(const TokenStream& stream, std::int64_t shard) {
  constexpr std::int64_t kNumSamples = 3, kNumTokens = 40;
  std::vector<std::string> texts;
  const auto documents = stream.documents(shard);
  const std::int64_t num_documents = std::ssize(documents) - 1;
  for (std::int64_t i = 0; i < std::min(kNumSamples, num_documents); ++i) {
    const auto number = static_cast<std::size_t>(i * num_documents / kNumSamples);
    const auto begin = static_cast<std::int64_t>(documents[number]);
    const auto end = std::min(begin + kNumTokens, static_cast<std::int64_t>(documents[number + 1]));
    std::vector<std::int64_t> ids(static_cast<std::size_t>(end - begin));
    stream.read(shard, {begin, end}, ids.data());
    texts.push_back(stream.tokenizer().decode(std::vector<std::int32_t>(ids.begin(), ids.end())));
  }
  return texts;
}

}  // namespace

nlohmann::json describe_text_dataset(const std::string& path, bool is_printed) {
  const auto dataset = std::make_shared<const Dataset>(path);
  const TokenStream stream(dataset);
  const auto number = [&](const char* key) {
    return std::stod(dataset->manifest().attributes.at(key));
  };
  const double tokens = number("tokens"), documents = number("documents");
  nlohmann::json json = {{"documents", documents},
                         {"tokens", tokens},
                         {"tokens_per_document", tokens / documents},
                         {"longest_document", number("longest_document")},
                         {"tokens_per_sentence", tokens / number("sentences")},
                         {"unknown_share", number("unknown_tokens") / tokens},
                         {"invalid_sequences", number("invalid_sequences")},
                         {"vocab_size", stream.tokenizer().vocabulary().size()},
                         {"tokenizer_hash", stream.tokenizer().hash()},
                         {"decoded", decoded_samples(stream, 0)}};
  if (!is_printed) return json;
  fmt::print(
      "  {:.0f} tokens, {:.1f} a document (longest {:.0f}), {:.1f} a sentence, {:.4f} % unknown\n",
      tokens, tokens / documents, number("longest_document"), tokens / number("sentences"),
      100 * number("unknown_tokens") / tokens);
  fmt::print("  vocabulary of {}, tokenizer {}\n", stream.tokenizer().vocabulary().size(),
             stream.tokenizer().hash());
  for (const auto& text : json["decoded"]) fmt::print("  | {}\n", text.get<std::string>());
  return json;
}

}  // namespace kiln
