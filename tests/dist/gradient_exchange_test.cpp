#include "dist/gradient_exchange.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/torch.h"
#include "dist/thread_communicator.h"

namespace kiln {
namespace {

constexpr std::int64_t kBucketBytes = 100'000;  // several buckets, one of them of a single tensor

// Number of elements of each parameter: smaller and larger than a block, and odd.
const std::vector<std::int64_t> kSizes = {5, 20'001, 700, 40'000, 128, 16'384, 33};

// Gradient of parameter p in micro-batch m; undefined where p takes no part.
using GradientOf = std::function<at::Tensor(std::int64_t p, std::int64_t m)>;

at::Tensor rough_gradient(std::int64_t p, std::int64_t m) {
  const at::Tensor x = at::arange(kSizes[p], at::kDouble) * 0.37 + static_cast<double>(11 * m + p);
  return x.sin().to(at::kFloat);
}

at::Tensor integer_gradient(std::int64_t p, std::int64_t m) {
  return (at::arange(kSizes[p], at::kLong).remainder(5) + m - p).to(at::kFloat);
}

struct Scenario {
  int num_ranks = 1;
  std::int64_t num_micro_batches = 8;
  at::ScalarType type = at::kFloat;
  ExchangeOptions options = {};
};

// One rank: a model whose loss is linear in its parameters, so that any gradient can be had.
class Rank {
 public:
  Rank(const Scenario& scenario, Communicator& communicator)
      : flat_(make_parameters(scenario.type), kBucketBytes, scenario.num_ranks),
        own_(share_of(scenario.num_micro_batches, communicator.rank(), scenario.num_ranks)) {
    ExchangeOptions options = scenario.options;
    options.num_micro_batches = scenario.num_micro_batches;
    exchange_ = make_gradient_exchange(flat_, communicator, options);
  }

  void run_step(const GradientOf& gradient_of) {
    exchange_->begin_step();
    for (std::int64_t m = own_.begin; m < own_.end; ++m) {
      exchange_->begin(m, m + 1 == own_.end);
      at::Tensor loss = at::zeros({});
      for (std::size_t p = 0; p < kSizes.size(); ++p) {
        const at::Tensor gradient = gradient_of(static_cast<std::int64_t>(p), m);
        if (!gradient.defined()) continue;
        const at::Tensor& tensor = flat_.tensors()[kSizes.size() - 1 - p];  // flat is reversed
        loss = loss + (tensor * gradient.to(tensor.scalar_type())).sum().to(at::kFloat);
      }
      if (loss.requires_grad()) loss.backward();
      exchange_->end_micro_batch();
    }
    exchange_->finish();
  }

  // What this rank owns of the sum, in the flat order; zero elsewhere.
  at::Tensor owned_sum() {
    at::Tensor sum = at::zeros({flat_.size()});
    for (const Range range : exchange_->owned()) {
      sum.narrow(0, range.begin, range.size()).copy_(exchange_->gradient(range));
    }
    return sum;
  }

  FlatParameters& flat() { return flat_; }
  GradientExchange& exchange() { return *exchange_; }

 private:
  static std::vector<Parameter> make_parameters(at::ScalarType type) {
    std::vector<Parameter> parameters;
    for (std::size_t p = 0; p < kSizes.size(); ++p) {
      parameters.push_back({std::to_string(p), at::ones({kSizes[p]}, type).requires_grad_(true)});
    }
    return parameters;
  }

  FlatParameters flat_;
  Range own_;
  std::unique_ptr<GradientExchange> exchange_;
};

void on_all_ranks(const Scenario& scenario, const std::function<void(Rank&, Communicator&)>& body) {
  auto communicators = make_thread_communicators(scenario.num_ranks, std::chrono::seconds(60));
  std::vector<std::jthread> threads;
  for (auto& communicator : communicators) {
    threads.emplace_back([&] {
      at::set_num_threads(1);
      Rank rank(scenario, *communicator);
      body(rank, *communicator);
    });
  }
}

// The sum of one step in the flat order. Replicated: of rank 0, after checking that all are equal.
at::Tensor sum_of_step(const Scenario& scenario, const GradientOf& gradient_of) {
  std::vector<at::Tensor> owned(scenario.num_ranks);
  on_all_ranks(scenario, [&](Rank& rank, Communicator& communicator) {
    rank.run_step([](std::int64_t p, std::int64_t m) { return rough_gradient(p, m + 3); });
    rank.run_step(gradient_of);  // the second step must know nothing of the first
    owned[communicator.rank()] = rank.owned_sum();
  });
  if (scenario.options.is_sharded) return at::stack(owned).sum(0);
  for (const auto& sum : owned) EXPECT_TRUE(at::equal(sum, owned[0]));
  return owned[0];
}

using AddUp = std::function<at::Tensor(std::vector<at::Tensor>)>;

at::Tensor left_fold(std::vector<at::Tensor> terms) {
  at::Tensor sum = terms[0].clone();
  for (std::size_t i = 1; i < terms.size(); ++i) sum += terms[i];
  return sum;
}

at::Tensor tree_sum(std::vector<at::Tensor> level) {
  while (level.size() > 1) {
    std::vector<at::Tensor> above;
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) above.push_back(level[i] + level[i + 1]);
    if (level.size() % 2 == 1) above.push_back(level.back());
    level = above;
  }
  return level[0];
}

// The same without ranks, buckets or hooks.
at::Tensor expected_sum(const Scenario& scenario, const GradientOf& gradient_of,
                        const AddUp& add_up) {
  at::Tensor expected;
  on_all_ranks({.num_ranks = 1, .type = scenario.type}, [&](Rank& rank, Communicator&) {
    expected = at::zeros({rank.flat().size()});
    for (const auto& entry : rank.flat().entries()) {
      std::vector<at::Tensor> terms;
      for (std::int64_t m = 0; m < scenario.num_micro_batches; ++m) {
        const at::Tensor gradient = gradient_of(std::stoll(entry.name), m);
        terms.push_back(gradient.defined() ? gradient.to(scenario.type).to(at::kFloat)
                                           : at::zeros({entry.numel}));
      }
      expected.narrow(0, entry.offset, entry.numel).copy_(add_up(terms));
    }
  });
  return expected;
}

bool have_same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.view(at::kInt), b.view(at::kInt));
}

TEST(FastExchange, AddsOverAnyNumberOfRanks) {
  for (const bool is_sharded : {false, true}) {
    for (const int num_ranks : {1, 2, 3, 4, 5, 8}) {
      const Scenario scenario{.num_ranks = num_ranks, .options = {.is_sharded = is_sharded}};
      EXPECT_TRUE(at::equal(sum_of_step(scenario, integer_gradient),
                            expected_sum(scenario, integer_gradient, left_fold)))
          << num_ranks << " ranks, sharded " << is_sharded;
    }
  }
}

TEST(FastExchange, RanksWithoutMicroBatchesTakePart) {
  const Scenario scenario{.num_ranks = 5, .num_micro_batches = 3};
  EXPECT_TRUE(at::equal(sum_of_step(scenario, integer_gradient),
                        expected_sum(scenario, integer_gradient, left_fold)));
}

TEST(FastExchange, ParametersWithoutGradientCountAsZero) {
  const GradientOf gradient_of = [](std::int64_t p, std::int64_t m) {
    return p == 3 || (p + m) % 3 == 0 ? at::Tensor() : integer_gradient(p, m);
  };
  for (const int num_ranks : {1, 3}) {
    const Scenario scenario{.num_ranks = num_ranks};
    EXPECT_TRUE(at::equal(sum_of_step(scenario, gradient_of),
                          expected_sum(scenario, gradient_of, left_fold)));
  }
}

TEST(FastExchange, SendsBf16WhereAsked) {
  for (const bool is_sharded : {false, true}) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const Scenario scenario{.num_ranks = 3,
                              .type = type,
                              .options = {.is_sharded = is_sharded, .reduce_dtype = at::kBFloat16}};
      EXPECT_TRUE(at::equal(sum_of_step(scenario, integer_gradient),
                            expected_sum(scenario, integer_gradient, left_fold)));
    }
  }
}

TEST(FastExchange, AddsMicroBatchesOfBf16ModelsInFp32) {
  const Scenario scenario{.num_ranks = 1, .num_micro_batches = 8, .type = at::kBFloat16};
  EXPECT_TRUE(at::equal(sum_of_step(scenario, rough_gradient),
                        expected_sum(scenario, rough_gradient, left_fold)));
}

TEST(TreeExchange, SameBitsOnAnyNumberOfRanks) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const bool is_sharded : {false, true}) {
      for (const int num_ranks : {1, 2, 3, 4, 5, 8}) {
        const Scenario scenario{.num_ranks = num_ranks,
                                .type = type,
                                .options = {.is_reproducible = true, .is_sharded = is_sharded}};
        EXPECT_TRUE(have_same_bits(sum_of_step(scenario, rough_gradient),
                                   expected_sum(scenario, rough_gradient, tree_sum)))
            << num_ranks << " ranks, sharded " << is_sharded << " " << type;
      }
    }
  }
}

TEST(TreeExchange, SameBitsForOddNumbersOfMicroBatches) {
  for (const std::int64_t num_micro_batches : {1, 3, 5, 7}) {
    for (const int num_ranks : {1, 2, 5}) {  // some of them without a micro-batch
      const Scenario scenario{.num_ranks = num_ranks,
                              .num_micro_batches = num_micro_batches,
                              .options = {.is_reproducible = true}};
      EXPECT_TRUE(have_same_bits(sum_of_step(scenario, rough_gradient),
                                 expected_sum(scenario, rough_gradient, tree_sum)))
          << num_micro_batches << " micro-batches on " << num_ranks;
    }
  }
}

TEST(TreeExchange, SameBitsWhereParametersHaveNoGradient) {
  const GradientOf gradient_of = [](std::int64_t p, std::int64_t m) {
    return p == 3 || (p + m) % 3 == 0 ? at::Tensor() : rough_gradient(p, m);
  };
  for (const int num_ranks : {1, 3, 4}) {
    const Scenario scenario{.num_ranks = num_ranks, .options = {.is_reproducible = true}};
    EXPECT_TRUE(have_same_bits(sum_of_step(scenario, gradient_of),
                               expected_sum(scenario, gradient_of, tree_sum)));
  }
}

// What TreeExchange is for: without it these same gradients give other bits on other ranks.
TEST(FastExchange, BitsDependOnNumberOfRanks) {
  EXPECT_FALSE(have_same_bits(sum_of_step({.num_ranks = 1}, rough_gradient),
                              sum_of_step({.num_ranks = 3}, rough_gradient)));
}

TEST(GradientExchange, SharesUpdatedWeights) {
  const Scenario scenario{.num_ranks = 3, .options = {.is_sharded = true}};
  on_all_ranks(scenario, [](Rank& rank, Communicator&) {
    for (const Range range : rank.exchange().owned()) {
      rank.flat().weights(range).copy_(at::arange(range.begin, range.end, at::kFloat));
    }
    rank.exchange().share_weights();
    for (const auto& entry : rank.flat().entries()) {
      const Range range{entry.offset, entry.offset + entry.numel};
      EXPECT_TRUE(
          at::equal(rank.flat().weights(range), at::arange(range.begin, range.end, at::kFloat)))
          << entry.name;
    }
  });
}

TEST(GradientExchange, OwnedRangesCoverAllOnce) {
  for (const bool is_sharded : {false, true}) {
    const Scenario scenario{.num_ranks = 5, .options = {.is_sharded = is_sharded}};
    std::atomic<std::int64_t> total = 0;
    std::int64_t size = 0;
    on_all_ranks(scenario, [&](Rank& rank, Communicator& communicator) {
      for (const Range range : rank.exchange().owned()) total += range.size();
      if (communicator.rank() == 0) size = rank.flat().size();
    });
    EXPECT_EQ(total, is_sharded ? size : 5 * size);
  }
}

TEST(GradientExchange, RefusesASecondExchangeOfTheSameParameters) {
  on_all_ranks({}, [](Rank& rank, Communicator& communicator) {
    EXPECT_THROW(make_gradient_exchange(rank.flat(), communicator, {}), std::logic_error);
  });
}

}  // namespace
}  // namespace kiln
