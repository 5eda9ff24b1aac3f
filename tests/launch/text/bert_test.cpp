// BERT through the real commands: from text to a model that evaluates, predicts, travels and goes
// on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/launch/fixtures/text_fixture.h"

namespace kiln::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

Outcome must_run(const std::vector<std::string>& words) {
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome;
}

/// A run of 20 steps on sentence pairs, trained once.
const fs::path& trained() {
  static const fs::path folder = [] {
    const fs::path run_dir = fresh_folder("bert_trained") / "run";
    must_run(train_text(1, run_dir, {"data.pairs=nsp", "optimizer.lr=5e-3"}));
    return run_dir;
  }();
  return folder;
}

class BertRun : public testing::TestWithParam<int> {
 protected:
  static const std::map<std::int64_t, double>& alone() {
    static const auto found = [] {
      const fs::path run_dir = fresh_folder("bert_ranks") / "one";
      must_run(train_text(1, run_dir));
      return losses(run_dir);
    }();
    return found;
  }
};

TEST_P(BertRun, GivesTheSameLossesOnAnyNumberOfRanks) {
  const fs::path run_dir = fresh_folder("bert_ranks") / "run";
  must_run(train_text(GetParam(), run_dir));
  const auto found = losses(run_dir);
  ASSERT_EQ(found.size(), 20u);
  for (const auto& [step, loss] : alone()) {
    EXPECT_NEAR(found.at(step), loss, 1e-6 * loss) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, BertRun, testing::Values(2, 3, 4));

TEST(Bert, ResumesInTheMiddleOfAnEpochToTheSameBits) {
  const auto folder = fresh_folder("bert_resume");
  must_run(train_text(2, folder / "halves", {"data.pairs=nsp", "train.stop_after=7"}));
  const Outcome rest = must_run(train_text(2, folder / "halves", {"data.pairs=nsp"}));
  const Outcome whole = must_run(train_text(2, folder / "whole", {"data.pairs=nsp"}));
  EXPECT_EQ(rest.json()["weights_hash"], whole.json()["weights_hash"]);
  EXPECT_EQ(losses(folder / "halves"), losses(folder / "whole"));
}

TEST(Bert, EvaluationDoesNotDependOnTheNumberOfRanks) {
  const std::vector<std::string> words =
      kiln({"eval", "mlm", trained().string(), "eval.train_path=" + tiny_text().train.string(),
            "--json"});
  const auto one = must_run(words).json(), three = must_run(mpirun(3, words)).json();
  for (const char* figure : {"mlm_loss", "mlm_accuracy", "shuffled_loss", "unigram_loss"}) {
    EXPECT_EQ(one.at(figure), three.at(figure)) << figure;
  }
  EXPECT_EQ(one["evaluation"], "mlm");
  EXPECT_GT(one["masked_tokens"], 50);
  EXPECT_GT(one["unigram_loss"], 1.0);
  EXPECT_NEAR(one["perplexity"].get<double>(), std::exp(one["mlm_loss"].get<double>()), 1e-9);
}

TEST(Bert, NgramModelsDoNotDependOnTheNumberOfRanks) {
  const std::vector<std::string> words =
      kiln({"eval", "ngram", tiny_text().train.string(),
            "eval.path=" + tiny_text().held_out.string(), "--json"});
  const auto one = must_run(words).json();
  EXPECT_EQ(must_run(mpirun(3, words)).json(), one);
  EXPECT_LT(one["kneser_ney_3_perplexity"], one["unigram_perplexity"]);
}

TEST(Bert, TextIsFilledIn) {
  const Outcome outcome = must_run(kiln({"eval", "mlm", trained().string(), "--text",
                                         "The old [MASK] walked under grey [MASK].", "--json"}));
  const auto predictions = outcome.json()["predictions"];
  ASSERT_EQ(predictions.size(), 2u);
  EXPECT_EQ(predictions[0].size(), 5u);
  EXPECT_GE(predictions[1][0]["probability"], predictions[1][1]["probability"]);
  EXPECT_THAT(outcome.out, HasSubstr("[MASK] 2:"));
  const Outcome nothing = run(kiln({"eval", "mlm", trained().string(), "--text", "no gap"}));
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("holds no [MASK]"));
}

TEST(Bert, ExportsImportsAndExportsTheSameBytes) {
  const auto folder = fresh_folder("bert_interchange");
  const auto path = [&](const char* name) { return (folder / name).string(); };
  must_run(kiln({"export", trained().string(), "--out", path("hf")}));
  must_run(kiln({"import", path("hf"), "--out", path("run")}));
  must_run(kiln({"export", path("run"), "--out", path("again")}));
  for (const char* file : {"model.safetensors", "config.json", "vocab.txt"}) {
    EXPECT_EQ(bytes_of(folder / "hf" / file), bytes_of(folder / "again" / file)) << file;
    EXPECT_FALSE(bytes_of(folder / "hf" / file).empty()) << file;
  }
  EXPECT_THAT(bytes_of(folder / "hf" / "config.json"), HasSubstr("BertForPreTraining"));
  // The folder evaluates as the run does, and fills in words.
  const auto loss_of = [&](const std::string& model) {
    return must_run(kiln({"eval", "mlm", model, "run.seed=5", "data.sequence_length=32",
                          "eval.path=" + tiny_text().held_out.string(), "--json"}))
        .json()["mlm_loss"]
        .get<double>();
  };
  EXPECT_NEAR(loss_of(path("hf")), loss_of(path("run")), 1e-6);
  must_run(kiln({"eval", "mlm", path("hf"), "--text", "the [MASK] end", "--json"}));
}

TEST(Bert, SecondPhaseWithLongerWindowsStartsFromTheFirst) {
  const fs::path run_dir = fresh_folder("bert_phase") / "second";
  const std::vector<std::string> longer = {"data.pairs=nsp", "data.sequence_length=64",
                                           "optimizer.lr=1e-4"};
  const auto first_loss = [&](std::vector<std::string> more) {
    more.insert(more.end(), longer.begin(), longer.end());
    fs::remove_all(run_dir);
    must_run(train_text(1, run_dir, more));
    return losses(run_dir).at(1);
  };
  const double anew = first_loss({"train.stop_after=1"});
  EXPECT_LT(first_loss({"train.stop_after=1", "run.init_from=" + trained().string()}), anew - 0.3);
}

TEST(Bert, FinetunesOnLabelledSentencesAndPairs) {
  const auto folder = fresh_folder("bert_finetune");
  for (const char* name : {"train.jsonl", "test.jsonl"}) {
    std::ofstream out(folder / name);
    for (int i = 0; i < 48; ++i) {
      // The label is the style of the second sentence.
      const int first = i / 2 % 2, second = i % 2;
      const int seed = 3 * (i + (name[1] == 'e' ? 100 : 0));
      const auto line = [&](int style) {
        const std::string text = made_up_text(2, seed + style);
        return text.substr(0, text.find('\n'));
      };
      out << nlohmann::json{{"text", line(first)},
                            {"text_b", line(second)},
                            {"label", second == 0 ? "plain" : "quaint"}}
                 .dump()
          << "\n";
    }
  }
  const std::vector<std::string> words =
      kiln({"eval", "finetune", trained().string(),
            "eval.train_path=" + (folder / "train.jsonl").string(),
            "eval.path=" + (folder / "test.jsonl").string(), "train.epochs=60", "optimizer.lr=2e-3",
            "data.sequence_length=64", "run.dir=" + (folder / "run").string(), "--json"});
  const auto result = must_run(words).json();
  EXPECT_EQ(result["samples"], 48);  // of the test
  EXPECT_GE(result["accuracy"], 0.8);
}

}  // namespace
}  // namespace kiln::test
