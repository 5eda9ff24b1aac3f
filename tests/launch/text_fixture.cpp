#include "tests/launch/text_fixture.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>

namespace kiln::test {

std::string made_up_text(int sentences, int style) {
  constexpr std::array kWords = {"the",   "river", "old",    "captain", "walked", "slowly",
                                 "under", "grey",  "clouds", "and",     "spoke",  "quietly",
                                 "of",    "ships", "gold",   "winter",  "letters", "home"};
  std::string text;
  unsigned state = 12345u + static_cast<unsigned>(style) * 977u;
  const auto draw = [&](unsigned bound) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % bound;
  };
  for (int i = 0; i < sentences; ++i) {
    text += i % 7 == 0 ? "However " : "Then ";
    const unsigned length = 4 + draw(9);
    for (unsigned j = 0; j < length; ++j) {
      // Texts of one style prefer a part of the words.
      const unsigned part = draw(4) == 0 ? draw(18) : draw(6) + static_cast<unsigned>(style % 3) * 6;
      text += kWords[part];
      text += ' ';
    }
    text += i % 20 == 19 ? "end.\n\n" : "end. ";
  }
  return text;
}

const TinyText& tiny_text() {
  static const TinyText text = [] {
    const auto folder = fresh_folder("tiny_text");
    const auto command = [](const std::vector<std::string>& words) {
      const Outcome outcome = run(kiln(words));
      EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    };
    TinyText made{folder / "vocab.txt", folder / "train", folder / "held-out", folder / "one.txt"};
    std::ofstream(folder / "one.txt") << made_up_text(300, 0);
    std::ofstream(folder / "two.txt") << made_up_text(300, 1);
    std::ofstream(folder / "three.txt") << made_up_text(80, 2);
    const std::string one = (folder / "one.txt").string(), two = (folder / "two.txt").string();
    command({"tokenizer", "train", one, two, "--vocab-size", "90", "--out",
             made.vocabulary.string()});
    command({"data", "import", "text", one, two, "--vocab", made.vocabulary.string(), "--out",
             made.train.string()});
    command({"data", "import", "text", (folder / "three.txt").string(), "--vocab",
             made.vocabulary.string(), "--out", made.held_out.string()});
    return made;
  }();
  return text;
}

std::vector<std::string> train_text(int ranks, const std::filesystem::path& run_dir,
                                    const std::vector<std::string>& overrides) {
  std::filesystem::create_directories(run_dir.parent_path());
  const auto recipe = run_dir.parent_path() / "tiny_bert.toml";
  std::ofstream(recipe) << fmt::format(R"([run]
name = "tiny"
seed = 5
threads = 1
[data]
path = "{}"
sequence_length = 32
[model]
name = "bert"
preset = "tiny"
dim = 32
max_positions = 64
[train]
steps = 20
global_batch = 32
micro_batch = 4
clip_norm = 1.0
[optimizer]
lr = 1e-3
weight_decay = 0.01
[schedule]
name = "linear_after_warmup"
warmup_steps = 5
[parallel]
timeout_s = 30
bucket_mb = 0.02
[checkpoint]
every = 0
[eval]
path = "{}"
[log]
every = 1
)",
                                       tiny_text().train.string(), tiny_text().held_out.string());
  std::vector<std::string> words =
      kiln({"train", recipe.string(), "run.dir=" + run_dir.string(), "--json"});
  words.insert(words.end(), overrides.begin(), overrides.end());
  return ranks == 0 ? words : mpirun(ranks, words);
}

}  // namespace kiln::test
