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

template <typename Check>
void for_each_row(const std::filesystem::path& file, const Check& check) {
  std::ifstream stream(file);
  if (!stream) throw usage_error("{}: cannot open", file.string());
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    check(nlohmann::json::parse(line), fmt::format("{}:{}", file.filename().string(), ++number));
  }
}

}  // namespace

void run_wordpiece(Case& reference, Report& report) {
  const auto vocabulary = reference.dir / "../../data/bert-vocab/vocab.txt";
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

}  // namespace kiln::parity
