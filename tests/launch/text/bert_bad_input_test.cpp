// Bad text, vocabularies and models: one clear error, or a repair that is counted and reported.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/fixtures/text_fixture.h"

namespace kiln::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class BertBadInput : public testing::Test {
 protected:
  BertBadInput() : folder_(fresh_folder("bert_bad_input")) {}
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  Outcome import(const std::string& input, const std::string& vocabulary) const {
    return run(kiln({"data", "import", "text", input, "--vocab", vocabulary, "--out",
                     path("dataset"), "--json"}));
  }
  static void expect_error(const Outcome& outcome, int exit_code, const std::string& text) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(text));
  }
  const fs::path folder_;
};

TEST_F(BertBadInput, InvalidBytesAreDroppedCountedAndReported) {
  write("text", "the old \xFF\xFE captain \xE4\xB8 walked. The river end.");
  const Outcome outcome = import(path("text"), tiny_text().vocabulary.string());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("3 invalid UTF-8"));
  EXPECT_EQ(outcome.json()["attributes"]["invalid_sequences"], "3");
}

TEST_F(BertBadInput, EmptyFilesAreCountedAndNothingButThemIsAnError) {
  write("empty", "");
  expect_error(import(path("empty"), tiny_text().vocabulary.string()), 3, "no text");
  EXPECT_FALSE(fs::exists(folder_ / "dataset" / "dataset.json"));
}

TEST_F(BertBadInput, MissingVocabulary) {
  write("text", "the river");
  expect_error(import(path("text"), path("no-such-vocab.txt")), 3, "no-such-vocab.txt");
}

TEST_F(BertBadInput, VocabularyWithoutMask) {
  write("text", "the river");
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n");
  expect_error(import(path("text"), path("vocab.txt")), 3, "lacks [MASK]");
}

TEST_F(BertBadInput, IdsBeyondTheVocabularyAreNamedWithTheirShard) {
  const fs::path dataset = folder_ / "copy";
  fs::copy(tiny_text().train, dataset, fs::copy_options::recursive);
  // The tokens are the one array in the file that begins with [CLS] "then" or "however": find it by
  // the id of [CLS] at a 4 KiB boundary, and write an id that no vocabulary of 90 has.
  const fs::path shard = dataset / "shard-00000.h5";
  std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
  bool is_found = false;
  for (std::int64_t at = 4096; at + 16 < static_cast<std::int64_t>(fs::file_size(shard));
       at += 4096) {
    std::uint16_t values[8] = {};
    file.seekg(at);
    file.read(reinterpret_cast<char*>(values), sizeof values);
    if (values[0] != 2 || values[1] < 5 || values[1] > 90) continue;
    values[5] = 60'000;
    file.seekp(at);
    file.write(reinterpret_cast<const char*>(values), sizeof values);
    is_found = true;
    break;
  }
  file.close();
  ASSERT_TRUE(is_found);
  const Outcome outcome = run(train_text(2, folder_ / "run", {"data.path=" + dataset.string()}));
  expect_error(outcome, 3, "has id 60000, beyond the vocabulary");
  EXPECT_THAT(outcome.err, HasSubstr("shard-00000.h5"));
}

TEST_F(BertBadInput, AlteredVocabularyOfADataset) {
  const fs::path dataset = folder_ / "copy";
  fs::copy(tiny_text().train, dataset, fs::copy_options::recursive);
  std::ofstream(dataset / "vocab.txt", std::ios::app) << "zz\n";
  expect_error(run(train_text(2, folder_ / "run", {"data.path=" + dataset.string()})), 3,
               "vocab.txt is not the one the dataset was made with");
}

/// A vocabulary of the same size in which two words have changed places, and a dataset of it.
class OtherTokenizer : public BertBadInput {
 protected:
  OtherTokenizer() {
    std::vector<std::string> lines;
    std::ifstream in(tiny_text().vocabulary);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    std::swap(lines[lines.size() - 1], lines[lines.size() - 2]);
    std::ofstream out(folder_ / "vocab.txt");
    for (const std::string& line : lines) out << line << "\n";
    out.close();
    const Outcome outcome = import(tiny_text().corpus.string(), path("vocab.txt"));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const Outcome trained = run(train_text(0, folder_ / "run", {"train.stop_after=1"}));
    EXPECT_EQ(trained.exit_code, 0) << trained.err;
  }
};

TEST_F(OtherTokenizer, IsRefusedWhereverAModelMeetsItsText) {
  const std::string data = "data.path=" + path("dataset");
  expect_error(run(kiln({"eval", "mlm", path("run"), "eval.path=" + path("dataset")})), 3,
               "its ids mean other words");
  expect_error(run(train_text(0, folder_ / "next", {data, "run.init_from=" + path("run")})), 3,
               "its ids mean other words");
  expect_error(run(train_text(0, folder_ / "run", {data})), 2, "data.tokenizer");
  expect_error(
      run(kiln({"eval", "ngram", tiny_text().train.string(), "eval.path=" + path("dataset")})), 3,
      "different tokenizers");
}

TEST_F(BertBadInput, WindowsLongerThanTheTableOfPositions) {
  expect_error(run(train_text(2, folder_ / "run", {"data.sequence_length=65"})), 2,
               "exceeds model.max_positions = 64");
}

TEST_F(BertBadInput, LabelledTextsThatCannotBeRead) {
  const Outcome trained = run(train_text(0, folder_ / "run", {"train.stop_after=1"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  write("good", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 2}\n");
  write("other", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": 3}\n");
  write("broken", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"}\n");
  const auto finetune = [&](const std::string& train, const std::string& test) {
    return run(kiln({"eval", "finetune", path("run"), "eval.train_path=" + path(train),
                     "eval.path=" + path(test), "train.epochs=4"}));
  };
  expect_error(finetune("broken", "good"), 3, "line 2");
  expect_error(finetune("good", "other"), 3, "label '3' is not among");
  expect_error(finetune("good", "missing"), 3, "missing");
  EXPECT_FALSE(fs::exists(folder_ / "run" / "finetune"));  // before any work
}

}  // namespace
}  // namespace kiln::test
