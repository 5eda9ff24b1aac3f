// `kiln encode` of BERT: hidden states of texts, held against the network run text by text.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "core/torch.h"
#include "data/store/dataset.h"
#include "launch/trained/tokenizer_files.h"
#include "models/bert/bert_objective.h"
#include "tests/launch/fixtures/text_fixture.h"

namespace kiln::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::int64_t kLength = 32, kWidth = 32;  // of train_text's network

Outcome must_run(const std::vector<std::string>& words) {
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome;
}

/// A run of a few steps, trained once; with pairs it has a pooler.
fs::path trained(const std::string& pairs) {
  static std::map<std::string, fs::path> made;
  if (const auto found = made.find(pairs); found != made.end()) return found->second;
  const fs::path run_dir = fresh_folder("encode_text_" + pairs) / "run";
  must_run(
      train_text(0, run_dir, {"data.pairs=" + pairs, "train.stop_after=3", "optimizer.lr=1e-2"}));
  return made[pairs] = run_dir;
}

/// More than a shard of them; the second is empty, the third too long.
std::vector<std::string> texts() {
  constexpr int kNumTexts = 2100;
  std::vector<std::string> lines;
  for (int i = 0; i < kNumTexts; ++i) {
    const std::string text = made_up_text(2, i);
    lines.push_back(text.substr(0, static_cast<std::size_t>(10 + i % 60)));
  }
  lines[1] = "";
  lines[2] = made_up_text(15, 3);
  return lines;
}

class EncodeText : public testing::Test {
 protected:
  EncodeText() : folder_(fresh_folder("encode_text")) {}
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string write_lines(const std::vector<std::string>& lines) const {
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    write("lines.txt", all);
    return path("lines.txt");
  }
  std::vector<std::string> encode(const fs::path& of, const std::string& data,
                                  const std::string& out,
                                  const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words =
        kiln({"encode", of.string(), "--data", data, "--out", path(out), "--json"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  void expect_error(const std::vector<std::string>& words, int exit_code,
                    const std::string& text) const {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(text));
    EXPECT_FALSE(fs::exists(folder_ / "out" / "dataset.json"));
  }
  const fs::path folder_;
};

at::Tensor row_of(const Dataset& dataset, std::int64_t id, const std::string& field,
                  const std::vector<std::int64_t>& shape, at::ScalarType type) {
  const Dataset::Place place = dataset.locate(id);
  const at::Tensor row = at::empty(shape, type);
  dataset.shard(place.shard)->read_rows(field, place.row, 1, row.data_ptr());
  return row.to(at::kFloat);
}

/// Compares a sample with the network's states for the text alone, without padding.
void expect_states(const TrainedModel& model, const Tokenizer& tokenizer, const Dataset& dataset, std::int64_t id,
                   const std::string& text) {
  const at::NoGradGuard no_grad;
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  std::vector<std::int32_t> words = TokenEncoder(tokenizer).encode(text);
  if (std::ssize(words) > kLength - 2) words.resize(kLength - 2);
  std::vector<std::int64_t> ids = {vocabulary.cls()};
  ids.insert(ids.end(), words.begin(), words.end());
  ids.push_back(vocabulary.sep());
  const std::int64_t length = std::ssize(ids);
  const Bert& bert = dynamic_cast<BertObjective&>(*model.objective).network();
  DropoutStream none;
  Bert::Input input;
  input.tokens = at::tensor(ids, at::kLong).unsqueeze(0);
  input.position = at::arange(length, at::kLong).unsqueeze(0);
  const at::Tensor x = bert.encode(input, none)[0];  // [L, D]
  const at::Tensor context = row_of(dataset, id, "context", {kLength, kWidth}, at::kHalf);
  // float16 rounds to 11 bits.
  EXPECT_TRUE(context.narrow(0, 0, length).allclose(x, 0x1p-11 + 1e-5, 1e-5)) << id;
  EXPECT_TRUE(context.narrow(0, length, kLength - length).eq(0).all().item<bool>()) << id;
  const at::Tensor expected = bert.pooler
                                  ? at::linear(x[0], bert.pooler->weight, bert.pooler->bias).tanh()
                                  : x.narrow(0, 1, length - 1).mean(0);
  const at::Tensor embedding = row_of(dataset, id, "embedding", {kWidth}, at::kFloat);
  EXPECT_TRUE(embedding.allclose(expected, 1e-5, 1e-5)) << id;
}

TEST_F(EncodeText, GivesTheNetworksStatesWithAndWithoutPooler) {
  const std::vector<std::string> lines = texts();
  const std::string file = write_lines(lines);
  for (const std::string pairs : {"none", "nsp"}) {
    const fs::path of = trained(pairs);
    const auto result = must_run(encode(of, file, pairs)).json();
    EXPECT_EQ(result["samples"], lines.size());
    const Dataset dataset(folder_ / pairs);
    EXPECT_EQ(dataset.num_shards(), 2);
    const TrainedModel model = TrainedModel::open({.path = of.string(), .reads_data = false});
    const auto tokenizer = tokenizer_of(model).tokenizer;
    TokenEncoder encoder(*tokenizer);
    EXPECT_EQ(result["cut"], std::ranges::count_if(lines, [&](const std::string& line) {
                return std::ssize(encoder.encode(line)) > kLength - 2;
              }));
    for (const std::int64_t id : {0, 1, 2, 60, 63, 64, 2047, 2048, 2099}) {
      expect_states(model, *tokenizer, dataset, id, lines[static_cast<std::size_t>(id)]);
    }
    const auto& facts = dataset.manifest().attributes;
    EXPECT_EQ(facts.at("tokenizer_hash"), tokenizer->hash());
    EXPECT_EQ(facts.at("weights_hash"), result["weights_hash"]);
    EXPECT_EQ(facts.at("pool"), pairs == "none" ? "mean" : "pooler");
  }
}

TEST_F(EncodeText, GivesTheSameBytesOnAnyNumberOfRanksAndFromEveryFormat) {
  std::vector<std::string> lines = texts();
  lines.erase(lines.begin() + 1);  // an import leaves empty documents out
  const std::string file = write_lines(lines);
  const fs::path of = trained("none");
  const auto expected = must_run(encode(of, file, "one")).json()["fingerprint"];
  for (const int ranks : {2, 3}) {
    const auto words = encode(of, file, "ranks" + std::to_string(ranks));
    EXPECT_EQ(must_run(mpirun(ranks, words)).json()["fingerprint"], expected) << ranks;
  }
  std::string objects;
  for (const std::string& line : lines) objects += nlohmann::json{{"caption", line}}.dump() + "\n";
  write("lines.jsonl", objects);
  EXPECT_EQ(must_run(encode(of, path("lines.jsonl"), "objects", {"--text-key", "caption"}))
                .json()["fingerprint"],
            expected);
  must_run(kiln({"data", "import", "text", file, "--documents", "line", "--vocab",
                 tiny_text().vocabulary.string(), "--out", path("dataset")}));
  EXPECT_EQ(must_run(encode(of, path("dataset"), "documents")).json()["fingerprint"], expected);
}

TEST_F(EncodeText, ShorterTextsOnRequest) {
  write("lines.txt", "the river end\n");
  const auto words = encode(trained("none"), path("lines.txt"), "out", {"data.sequence_length=8"});
  EXPECT_EQ(must_run(words).json()["sequence_length"], 8);
  EXPECT_EQ(Dataset(folder_ / "out").manifest().fields.at("context").shape,
            (std::vector<std::int64_t>{8, kWidth}));
}

TEST_F(EncodeText, RefusesWhatItCannotEncode) {
  const fs::path of = trained("none");
  write("lines.txt", "the river\n");
  write("empty.txt", "");
  write("bad.jsonl", "{\"text\": \"the river\"}\n{\"txt\": 1}\n");
  const std::string lines = path("lines.txt");
  expect_error(encode(of, path("nothing"), "out"), 3, "does not exist");
  expect_error(encode(of, path("empty.txt"), "out"), 3, "has no text");
  expect_error(encode(of, path("bad.jsonl"), "out"), 3, "line 2 is not a JSON object");
  expect_error(encode(of, tiny_images().string(), "out"), 3, "not text");
  expect_error(encode(of, lines, "out", {"--flip"}), 2, "--flip is for images");
  expect_error(encode(of, lines, "out", {"data.sequence_length=65"}), 2, "takes 2 to 64 tokens");
  expect_error(encode(of, lines, "out", {"data.size=8"}), 2, "data.size");
  expect_error(encode(folder_, lines, "out"), 2, "neither a run");
  const fs::path mae = folder_ / "mae";
  must_run(train(0, mae, {"train.stop_after=1"}));
  expect_error(encode(mae, lines, "out"), 2, "encodes neither images nor texts");
}

TEST_F(EncodeText, RefusesTextOfAnotherTokenizer) {
  std::vector<std::string> pieces;
  std::ifstream in(tiny_text().vocabulary);
  for (std::string line; std::getline(in, line);) pieces.push_back(line);
  std::swap(pieces[pieces.size() - 1], pieces[pieces.size() - 2]);
  std::string vocabulary;
  for (const std::string& piece : pieces) vocabulary += piece + "\n";
  write("vocab.txt", vocabulary);
  must_run(kiln({"data", "import", "text", tiny_text().corpus.string(), "--vocab",
                 path("vocab.txt"), "--out", path("dataset")}));
  expect_error(encode(trained("none"), path("dataset"), "out"), 3, "its ids mean other words");
}

}  // namespace
}  // namespace kiln::test
