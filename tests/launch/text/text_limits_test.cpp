// Import of text that is larger than the memory it may use, and after a kill.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "tests/launch/fixtures/text_fixture.h"

namespace kiln::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// What the program's libraries alone map is several hundred MB where they include CUDA's.
constexpr std::int64_t kLimitKb = 800'000;

/// The words under a limit on memory that may be written to.
std::vector<std::string> limited(const std::vector<std::string>& words) {
  std::vector<std::string> all = {"/bin/sh", "-c",
                                  "ulimit -d " + std::to_string(kLimitKb) + "; exec \"$@\"", "sh"};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

class TextLimits : public testing::Test {
 protected:
  TextLimits() : folder_(fresh_folder("text_limits")) {}
  void write_repeated(const std::string& block, std::int64_t bytes) const {
    std::ofstream out(folder_ / "text", std::ios::binary);
    for (std::int64_t written = 0; written < bytes; written += std::ssize(block)) out << block;
  }
  std::vector<std::string> import(const std::string& name,
                                  const std::vector<std::string>& more) const {
    std::vector<std::string> words =
        kiln({"data", "import", "text", (folder_ / "text").string(), "--vocab",
              tiny_text().vocabulary.string(), "--out", (folder_ / name).string(), "--json"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  const fs::path folder_;
};

TEST_F(TextLimits, FileLargerThanTheMemoryItIsReadIn) {
  std::string block;
  for (int i = 0; i < 8; ++i) block += made_up_text(2000, i);
  write_repeated(block, (kLimitKb + 100'000) * 1000);
  ASSERT_GT(fs::file_size(folder_ / "text"), kLimitKb * 1024);
  const Outcome outcome = run(
      limited(import("out", {"--documents", "blank_line", "--unit-mb", "16", "--threads", "2"})),
      600s);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_GT(outcome.json()["samples"], 100'000);
}

TEST_F(TextLimits, DocumentLargerThanTheMemoryItIsReadIn) {
  // Not even a line end.
  const std::string block = "the old captain walked slowly under grey clouds ";
  write_repeated(block, 1);
  const auto once = run(import("once", {}), 60s).json()["attributes"]["tokens"].get<std::string>();
  const std::size_t block_tokens = std::stoull(once) - 2;  // without [CLS] and [SEP]
  write_repeated(block, (kLimitKb + 50'000) * 1024);
  const Outcome outcome = run(
      limited(import("out", {"--documents", "blank_line", "--unit-mb", "16", "--threads", "2"})),
      600s);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto facts = outcome.json()["attributes"];
  const auto repeats = fs::file_size(folder_ / "text") / block.size();
  const auto documents = outcome.json()["samples"].get<std::size_t>();
  EXPECT_EQ(facts["document_cuts"], std::to_string(documents - 1));
  EXPECT_EQ(facts["tokens"], std::to_string(block_tokens * repeats + 2 * documents));
  EXPECT_THAT(outcome.err, testing::HasSubstr("documents were cut"));
}

TEST_F(TextLimits, ObjectTooLargeToParse) {
  {
    std::ofstream out(folder_ / "text", std::ios::binary);
    out << "{\"text\": \"";
    for (int i = 0; i < 36'000; ++i) out << std::string(1000, 'a') << ' ';
    out << "\"}\n";
  }
  std::vector<std::string> words = import("out", {});
  words[std::size_t(std::ranges::find(words, "text") - words.begin())] = "jsonl";
  const Outcome outcome = run(limited(words), 300s);
  EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("has no end within 32 MiB"));
}

TEST_F(TextLimits, LineOfAHundredMegabytes) {
  write_repeated("the old captain walked slowly under grey clouds ", 100'000'000);
  // As one document it is held as tokens, which no limit above would allow everywhere.
  const Outcome outcome = run(import("out", {"--threads", "1"}), 300s);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto facts = outcome.json()["attributes"];
  const auto repeats = (fs::file_size(folder_ / "text") + 47) / 48;
  EXPECT_GE(std::stoull(facts["tokens"].get<std::string>()), 8 * repeats);
  EXPECT_EQ(facts["unknown_tokens"], "0");
}

TEST_F(TextLimits, GoesOnAfterAKillWithTheSameResult) {
  write_repeated(made_up_text(20'000, 0), 60'000'000);
  const std::vector<std::string> options = {"--documents", "blank_line", "--unit-mb",
                                            "2",           "--threads",  "1"};
  const Outcome whole = run(import("whole", options), 300s);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const auto third_shard = folder_ / "cut" / "shard-00002.json";
  {
    Program program(import("cut", options));
    for (int i = 0; i < 60'000 && !fs::exists(third_shard); ++i) std::this_thread::sleep_for(5ms);
    program.signal(SIGKILL);
    EXPECT_NE(program.finish().exit_code, 0);
  }
  ASSERT_TRUE(fs::exists(third_shard));
  EXPECT_FALSE(fs::exists(folder_ / "cut" / "dataset.json"));
  const auto made_at = fs::last_write_time(folder_ / "cut" / "shard-00000.h5");
  const Outcome rest = run(import("cut", options), 300s);
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_EQ(rest.json()["fingerprint"], whole.json()["fingerprint"]);
  EXPECT_EQ(fs::last_write_time(folder_ / "cut" / "shard-00000.h5"), made_at);
}

}  // namespace
}  // namespace kiln::test
