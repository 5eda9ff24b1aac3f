#include "core/on_all_ranks.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "core/base/error.h"
#include "dist/thread_communicator.h"

namespace kiln {
namespace {

constexpr int kRanks = 4;

// What each rank throws when body runs on all of them: exit code and message; 0 and "": nothing.
std::vector<std::pair<int, std::string>> outcomes(const std::function<void(Communicator&)>& body) {
  auto communicators = make_thread_communicators(kRanks, std::chrono::seconds(30));
  std::vector<std::pair<int, std::string>> results(kRanks);
  std::vector<std::jthread> threads;
  for (auto& communicator : communicators) {
    threads.emplace_back([&] {
      try {
        body(*communicator);
      } catch (const Error& error) {
        results[communicator->rank()] = {static_cast<int>(error.code()), error.what()};
      }
    });
  }
  threads.clear();
  return results;
}

void expect_same_everywhere(const std::vector<std::pair<int, std::string>>& results, ExitCode code,
                            const std::string& message) {
  for (const auto& result : results) {
    EXPECT_EQ(result.first, static_cast<int>(code));
    EXPECT_EQ(result.second, message);
  }
}

TEST(RunOnAllRanks, ReturnsWhereNobodyThrows) {
  expect_same_everywhere(outcomes([](Communicator& c) { run_on_all_ranks(c, [] {}); }),
                         ExitCode::kDone, "");
}

TEST(RunOnAllRanks, ErrorOfOneRankEndsAllWithItsCode) {
  const auto results = outcomes([](Communicator& c) {
    run_on_all_ranks(c, [&] {
      if (c.rank() == 2) throw data_error("shard 7 is cut short");
    });
  });
  expect_same_everywhere(results, ExitCode::kData, "rank 2: shard 7 is cut short");
}

TEST(RunOnAllRanks, ErrorOfEveryRankNamesNone) {
  const auto results = outcomes(
      [](Communicator& c) { run_on_all_ranks(c, [] { throw usage_error("unknown key"); }); });
  expect_same_everywhere(results, ExitCode::kUsage, "unknown key");
}

TEST(RunOnAllRanks, FirstFailingRankIsToldOfSeveral) {
  const auto results = outcomes([](Communicator& c) {
    run_on_all_ranks(c, [&] {
      if (c.rank() == 1) throw std::runtime_error("short");
      if (c.rank() == 3) throw checkpoint_error("a longer message");
    });
  });
  expect_same_everywhere(results, ExitCode::kInternal, "rank 1: short");
}

TEST(CheckEqualOnAllRanks, AcceptsEqualValues) {
  expect_same_everywhere(
      outcomes([](Communicator& c) { check_equal_on_all_ranks(c, "recipe", "lr = 1"); }),
      ExitCode::kDone, "");
}

TEST(CheckEqualOnAllRanks, ListsRanksThatDiffer) {
  const auto results = outcomes([](Communicator& c) {
    check_equal_on_all_ranks(c, "recipe", c.rank() == 0 || c.rank() == 2 ? "lr = 1" : "lr = 2");
  });
  for (const auto& [code, message] : results) {
    EXPECT_EQ(code, static_cast<int>(ExitCode::kUsage));
    EXPECT_NE(message.find("recipe of rank 1, 3 differs"), std::string::npos) << message;
  }
}

TEST(CheckEqualOnAllRanks, WritesNeighboursAsARange) {
  const auto results = outcomes(
      [](Communicator& c) { check_equal_on_all_ranks(c, "program", c.rank() == 0 ? "a" : "b"); });
  EXPECT_NE(results[3].second.find("program of rank 1 to 3 differs"), std::string::npos);
}

TEST(GatherTexts, KeepsLengthsAndOrder) {
  const auto results = outcomes([](Communicator& c) {
    const auto texts =
        gather_texts(c, std::string(c.rank() * 3, static_cast<char>('a' + c.rank())));
    EXPECT_EQ(texts, (std::vector<std::string>{"", "bbb", "cccccc", "ddddddddd"}));
  });
  expect_same_everywhere(results, ExitCode::kDone, "");
}

}  // namespace
}  // namespace kiln
