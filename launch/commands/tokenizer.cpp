#include "data/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <thread>

#include "core/report/log.h"
#include "data/text/line_reader.h"
#include "data/tokenizer/text_file.h"
#include "data/tokenizer/wordpiece_trainer.h"
#include "launch/commands/command.h"

namespace kiln {
namespace {

struct TrainArgs {
  std::vector<std::filesystem::path> inputs;
  std::string out;
  bool is_cased = false;
  WordPieceTrainerOptions options;
};

struct EncodeArgs {
  std::vector<std::filesystem::path> inputs;
  std::string vocabulary;
  bool is_cased = false;
  bool has_pieces = false;
  bool is_counted_only = false;
};

NormalizerOptions normalizer(bool is_cased) {
  return is_cased ? NormalizerOptions::cased() : NormalizerOptions{};
}

void note_left_out(const std::string& reason, const std::string& path) {
  log_warning("left out {}: {}", path, reason);
}

CommandResult train(TrainArgs args) {
  args.options.normalizer = normalizer(args.is_cased);
  if (args.options.threads <= 0) {
    args.options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  const auto files = list_text_files(args.inputs, note_left_out);
  const Vocabulary vocabulary(train_wordpiece(file_chunks(files), args.options), args.out);
  vocabulary.save(args.out);
  if (vocabulary.size() < args.options.vocab_size) {
    log_warning("the text yields {} pieces, fewer than the {} asked for", vocabulary.size(),
                args.options.vocab_size);
  }
  log_info("{}: {} pieces", args.out, vocabulary.size());
  return {ExitCode::kDone, {{"path", args.out}, {"vocab_size", vocabulary.size()}}};
}

struct Encoded {
  std::int64_t ids = 0, bytes = 0;
  double cpu_s = 0;
};

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

std::string joined(const std::vector<std::int32_t>& ids, const Vocabulary& vocabulary,
                   bool has_pieces) {
  std::string out;
  for (const std::int32_t id : ids) {
    if (!out.empty()) out += ' ';
    out += has_pieces ? vocabulary.piece(id) : std::to_string(id);
  }
  return out;
}

void encode_line(const std::string& line, const EncodeArgs& args, const Vocabulary& vocabulary,
                 TokenEncoder& encoder, Encoded& sums) {
  const double start = cpu_seconds();
  std::vector<std::int32_t> ids;
  encoder.encode(line, ids);
  sums.ids += std::ssize(ids);
  sums.bytes += std::ssize(line) + 1;
  if (!args.is_counted_only) fmt::print("{}\n", joined(ids, vocabulary, args.has_pieces));
  sums.cpu_s += cpu_seconds() - start;
}

/// A line of ids (or pieces) for each line of text, unless they are only counted.
void encode_file(const std::filesystem::path& path,
                 const std::function<void(const std::string&)>& use) {
  LineReader lines(path, {0, std::numeric_limits<std::int64_t>::max()});
  std::string whole;
  for (LineReader::Line line; lines.next(line);) {
    whole += line.text;
    if (!line.is_last_piece) continue;
    use(whole);
    whole.clear();
  }
}

void encode_input(const std::function<void(const std::string&)>& use) {
  bool is_first = true;
  for (std::string line; std::getline(std::cin, line); is_first = false) {
    if (is_first) check_text(line, "standard input");
    if (line.ends_with('\r')) line.pop_back();
    use(line);
  }
}

CommandResult encode(const EncodeArgs& args) {
  const Tokenizer tokenizer(Vocabulary::load(args.vocabulary), normalizer(args.is_cased));
  TokenEncoder encoder(tokenizer);
  Encoded sums;
  const auto use = [&](const std::string& line) {
    encode_line(line, args, tokenizer.vocabulary(), encoder, sums);
  };
  if (args.inputs.empty()) encode_input(use);
  for (const auto& path : list_text_files(args.inputs, note_left_out)) encode_file(path, use);
  if (encoder.num_invalid() > 0) {
    log_warning("dropped {} invalid UTF-8 sequences", encoder.num_invalid());
  }
  const double mb_per_s = static_cast<double>(sums.bytes) / 1e6 / std::max(sums.cpu_s, 1e-6);
  if (args.is_counted_only) fmt::print("{} tokens, {:.1f} MB/s a core\n", sums.ids, mb_per_s);
  return {ExitCode::kDone,
          {{"tokens", sums.ids},
           {"bytes", sums.bytes},
           {"mb_per_s", mb_per_s},
           {"invalid_sequences", encoder.num_invalid()},
           {"tokenizer_hash", tokenizer.hash()}}};
}

void declare_train(CLI::App& app, const std::shared_ptr<TrainArgs>& args) {
  app.add_option("inputs", args->inputs, "Text files or folders of them; compressed or not.")
      ->required();
  app.add_option("--out", args->out, "The vocab.txt to write.")->required();
  app.add_option("--vocab-size", args->options.vocab_size, "Pieces; default 30522.")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--min-frequency", args->options.min_frequency,
                 "Pairs seen less often are not joined; default 2.")
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--max-alphabet", args->options.max_alphabet,
                 "Characters kept, by frequency; default 1000.")
      ->check(CLI::Range(1, 1 << 21));
  app.add_option("--max-words", args->options.max_words,
                 "Distinct words held in memory; default 4000000.")
      ->check(CLI::Range(1, 1 << 30));
  app.add_flag("--cased", args->is_cased, "Keeps case and accents.");
  app.add_option("--threads", args->options.threads, "Threads that count; 0: one per core.")
      ->check(CLI::Range(0, 4096));
  set_examples(app, "  kiln tokenizer train books/*.txt --vocab-size 8192 --out vocab.txt");
}

void declare_encode(CLI::App& app, const std::shared_ptr<EncodeArgs>& args) {
  app.add_option("inputs", args->inputs, "Text files or folders; none: standard input.");
  app.add_option("--vocab", args->vocabulary, "vocab.txt")->required();
  app.add_flag("--cased", args->is_cased, "Keeps case and accents.");
  app.add_flag("--pieces", args->has_pieces, "Prints pieces instead of ids.");
  app.add_flag("--count", args->is_counted_only, "Prints only how many there are, and how fast.");
  set_examples(app, "  echo \"unaffable\" | kiln tokenizer encode --vocab vocab.txt --pieces");
}

}  // namespace

std::function<CommandResult()> declare_tokenizer(CLI::App& app) {
  app.require_subcommand(1);
  auto train_words = std::make_shared<TrainArgs>();
  train_words->options.threads = 0;
  auto encode_words = std::make_shared<EncodeArgs>();
  CLI::App* train_app = app.add_subcommand("train", "Learns a WordPiece vocabulary.");
  declare_train(*train_app, train_words);
  declare_encode(*app.add_subcommand("encode", "Ids of lines of text."), encode_words);
  return [=] { return train_app->parsed() ? train(*train_words) : encode(*encode_words); };
}

}  // namespace kiln
