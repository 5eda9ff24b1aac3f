#include <fmt/format.h>

#include <fstream>

#include "core/base/error.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

using Ids = std::vector<std::int32_t>;

/// The bytes a row was made from: its text, or `bytes_hex` where that is no UTF-8.
std::string input_of(const nlohmann::json& row) {
  if (!row.contains("bytes_hex")) return row.at("text");
  const std::string hex = row["bytes_hex"];
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

/// The vocabulary of the case's README: in its folder, or in data/bert-vocab of a folder above it or
/// of ../shared.
std::filesystem::path vocabulary_of(const std::filesystem::path& dir) {
  namespace fs = std::filesystem;
  const fs::path file = "data/bert-vocab/vocab.txt";
  std::vector<fs::path> candidates = {dir / "vocab.txt"};
  for (fs::path up = fs::canonical(dir); up != up.root_path(); up = up.parent_path()) {
    candidates.push_back(up / file);
  }
  candidates.push_back(fs::path("../shared") / file);
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate)) return candidate;
  }
  throw usage_error("{}: no vocab.txt, and no {} in a folder above", dir.string(), file.string());
}

bool is_wordpiece(const Case& reference) {
  return std::filesystem::exists(reference.dir / "cases.jsonl") ||
         std::filesystem::exists(reference.dir / "pairs.jsonl");
}

template <typename Check>
void for_each_row(const std::filesystem::path& file, const Check& check) {
  std::ifstream stream(file);
  if (!stream) return;  // a case may have rows of one kind alone
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    check(nlohmann::json::parse(line), fmt::format("{}:{}", file.filename().string(), ++number));
  }
}

void run_wordpiece(Case& reference, Report& report) {
  const std::filesystem::path vocabulary = vocabulary_of(reference.dir);
  const Tokenizer uncased(Vocabulary::load(vocabulary), {});
  const Tokenizer cased(Vocabulary::load(vocabulary), NormalizerOptions::cased());
  TokenEncoder encode_uncased(uncased), encode_cased(cased);
  for_each_row(reference.dir / "cases.jsonl", [&](const nlohmann::json& row, const auto& name) {
    const std::string text = input_of(row);
    report.expect(encode_uncased.encode(text) == row.at("ids_uncased").get<Ids>(),
                  name + " uncased");
    report.expect(encode_cased.encode(text) == row.at("ids_cased").get<Ids>(), name + " cased");
  });
  for_each_row(reference.dir / "pairs.jsonl", [&](const nlohmann::json& row, const auto& name) {
    const Ids a = encode_uncased.encode(row.at("a").get<std::string>());
    const Ids b = encode_uncased.encode(row.at("b").get<std::string>());
    const std::int64_t length =
        row.at("max_length").is_null() ? 0 : row["max_length"].get<std::int64_t>();
    const ModelInput input = make_input(uncased.vocabulary(), a, b, length);
    report.expect(input.ids == row.at("input_ids").get<Ids>() &&
                      input.segments == row.at("token_type_ids").get<Ids>() &&
                      input.mask == row.at("attention_mask").get<Ids>(),
                  name);
  });
}

}  // namespace

Runners wordpiece_runners() {
  return {{.name = "wordpiece", .fits = is_wordpiece, .run = run_wordpiece}};
}

}  // namespace kiln::parity
