#include "tests/support/markov_text.h"

#include <array>
#include <chrono>
#include <cmath>
#include <exception>
#include <thread>

#include "core/base/work.h"
#include "core/loader.h"
#include "core/torch.h"
#include "core/training/trainer.h"
#include "dist/gradient_exchange.h"
#include "dist/thread_communicator.h"

namespace kiln::markov {
namespace {

constexpr double kStay = 0.7, kBackground = (1 - kStay) / kWords;
constexpr std::int64_t kMask = kWords;

std::int64_t successor(std::int64_t word) { return (3 * word + 1) % kWords; }

using Distribution = std::array<double, kWords>;

void normalise(Distribution& p) {
  double sum = 0;
  for (const double value : p) sum += value;
  for (double& value : p) value /= sum;
}

/// Probability of what is shown for each word that may stand there, whether or not it was chosen.
Distribution shown_given_word(std::int64_t shown, bool is_chosen) {
  Distribution p{};
  for (std::int64_t x = 0; x < kWords; ++x) {
    const bool is_same = shown == x;
    double value = 0;
    if (shown == kMask) {
      value = 1;
    } else if (is_chosen) {
      value = 0.1 / kWords + (is_same ? 0.1 : 0);
    } else {
      value = 0.15 * 0.1 / kWords + (is_same ? 0.85 + 0.15 * 0.1 : 0);
    }
    p[static_cast<std::size_t>(x)] = value;
  }
  return p;
}

/// What the words left of `place` say of the one there.
Distribution forward(const std::int64_t* shown, std::int64_t place) {
  Distribution a;
  a.fill(1.0 / kWords);
  for (std::int64_t i = 0; i < place; ++i) {
    const Distribution seen = shown_given_word(shown[i], false);
    Distribution next;
    next.fill(0);
    double sum = 0;
    for (std::size_t x = 0; x < kWords; ++x) {
      const double p = a[x] * seen[x];
      sum += p;
      next[static_cast<std::size_t>(successor(static_cast<std::int64_t>(x)))] += kStay * p;
    }
    for (double& p : next) p += kBackground * sum;
    normalise(next);
    a = next;
  }
  return a;
}

Distribution backward(const std::int64_t* shown, std::int64_t place) {
  Distribution b;
  b.fill(1.0);
  for (std::int64_t i = kLength - 1; i > place; --i) {
    const Distribution seen = shown_given_word(shown[i], false);
    Distribution joint;
    double sum = 0;
    for (std::size_t x = 0; x < kWords; ++x) sum += joint[x] = b[x] * seen[x];
    for (std::size_t x = 0; x < kWords; ++x) {
      const auto next = static_cast<std::size_t>(successor(static_cast<std::int64_t>(x)));
      b[x] = kStay * joint[next] + kBackground * sum;
    }
    normalise(b);
  }
  return b;
}

class Loader final : public kiln::Loader {
 public:
  Loader(const Training& setup, int rank) : setup_(setup), rank_(rank) {}
  void start(std::int64_t samples_seen) override { samples_seen_ = samples_seen; }
  bool is_ready_within(double) override { return true; }
  std::int64_t num_samples() const override { return 1'000'000; }
  std::vector<Batch> next() override {
    const Range share = share_of(setup_.global_batch / setup_.micro_batch, rank_, setup_.ranks);
    std::vector<Batch> batches;
    double own = 0;
    for (std::int64_t m = share.begin; m < share.end; ++m) {
      batches.push_back(read(samples_seen_, m));
      own += batches.back().denominators.at("masked");
    }
    // The mean over ranks of sums over a rank's words, each divided by the rank's own count.
    for (Batch& batch : batches) batch.tensors["local"] = at::scalar_tensor(own * setup_.ranks);
    samples_seen_ += setup_.global_batch;
    return batches;
  }
  Batch read(std::int64_t samples_seen, std::int64_t micro_batch) override {
    Batch batch =
        make_batch(samples_seen + micro_batch * setup_.micro_batch, setup_.micro_batch, 1);
    batch.micro_batch = micro_batch;
    return batch;
  }

 private:
  const Training& setup_;
  int rank_;
  std::int64_t samples_seen_ = 0;
};

/// BERT as trained without global denominators.
class LocallyNormalised final : public BertObjective {
 public:
  using BertObjective::BertObjective;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override {
    Batch local = batch;
    local.denominators["masked"] = batch.at("local").item<double>();
    return BertObjective::loss(local, context, phase);
  }
};

BertShape shape() {
  BertShape shape;
  shape.vocab_size = kWords + 1;
  shape.max_positions = kLength;
  shape.dim = 64;
  shape.depth = 2;
  shape.heads = 2;
  shape.mlp_dim = 256;
  shape.dropout = shape.attention_dropout = 0.0;
  shape.has_pooler = shape.has_pair_head = false;
  return shape;
}

std::vector<double> train_rank(const Training& setup, Communicator& communicator,
                               BertObjective& objective) {
  at::set_num_threads(setup.threads);
  Loader loader(setup, communicator.rank());
  Recipe recipe;
  recipe.train.steps = setup.steps;
  recipe.train.global_batch = setup.global_batch;
  recipe.train.micro_batch = setup.micro_batch;
  recipe.train.clip_norm = 1.0;
  recipe.optimizer.lr = setup.lr;
  recipe.schedule.name = "linear_after_warmup";
  recipe.schedule.warmup_steps = static_cast<double>(setup.warmup_steps);
  recipe.log.every = 1;
  const std::int64_t total = setup.steps * setup.global_batch;
  const ExchangeOptions exchange{.num_micro_batches = setup.global_batch / setup.micro_batch};
  std::vector<double> losses;
  Trainer trainer(
      {.recipe = recipe,
       .total_samples = total,
       .schedule = Schedule(recipe.schedule, setup.lr, total, total, setup.global_batch),
       .objective = objective,
       .loader = loader,
       .communicator = communicator,
       .make_exchange =
           [&](FlatParameters& flat) {
             return make_gradient_exchange(flat, communicator, exchange);
           },
       .header = {},
       .hooks = {.report = [&](const StepReport& report) { losses.push_back(report.loss); }}});
  trainer.run();
  return losses;
}

}  // namespace

Batch make_batch(std::int64_t first, std::int64_t count, std::uint64_t seed) {
  Batch batch;
  batch.first_position = first;
  batch.num_samples = count;
  const at::Tensor inputs = at::empty({count, kLength}, at::kLong);
  std::vector<std::int64_t> places, words;
  for (std::int64_t row = 0; row < count; ++row) {
    const Philox stream(seed, Purpose::kNoise, first + row);
    std::uint64_t number = 0;
    const auto chance = [&](double p) {
      return static_cast<double>(stream.below(1 << 24, number++)) < p * (1 << 24);
    };
    const auto any_word = [&] { return stream.below(kWords, number++); };
    std::int64_t word = any_word();
    auto* shown = inputs.data_ptr<std::int64_t>() + row * kLength;
    for (std::int64_t i = 0; i < kLength; ++i) {
      if (i > 0) word = chance(kStay) ? successor(word) : any_word();
      shown[i] = word;
      if (!chance(0.15)) continue;
      places.push_back(row * kLength + i);
      words.push_back(word);
      shown[i] = chance(0.8) ? kMask : chance(0.5) ? word : any_word();
    }
  }
  batch.tensors["input_ids"] = inputs;
  batch.tensors["position"] = at::arange(kLength, at::kLong).unsqueeze(0);
  batch.tensors["masked_place"] = at::tensor(at::ArrayRef<std::int64_t>(places), at::kLong);
  batch.tensors["masked_token"] = at::tensor(at::ArrayRef<std::int64_t>(words), at::kLong);
  batch.denominators["masked"] = static_cast<double>(places.size());
  return batch;
}

BertObjective make_objective() {
  BertObjective objective(shape(), MaskingOptions{}, at::TensorOptions());
  objective.initialise(1);
  return objective;
}

BayesLoss bayes_loss(const Batch& batch) {
  BayesLoss loss;
  const at::Tensor& places = batch.at("masked_place");
  for (std::int64_t k = 0; k < places.size(0); ++k) {
    const std::int64_t place = places[k].item<std::int64_t>();
    const auto word = static_cast<std::size_t>(batch.at("masked_token")[k].item<std::int64_t>());
    const auto* shown =
        batch.at("input_ids").const_data_ptr<std::int64_t>() + place / kLength * kLength;
    const std::int64_t i = place % kLength;
    const Distribution here = shown_given_word(shown[i], true);
    Distribution left = forward(shown, i), both = backward(shown, i);
    for (std::size_t x = 0; x < kWords; ++x) both[x] *= left[x] *= here[x];
    normalise(left);
    normalise(both);
    loss.left.push_back(-std::log(left[word]));
    loss.both.push_back(-std::log(both[word]));
  }
  return loss;
}

std::vector<double> train(const Training& setup, BertObjective* trained) {
  auto communicators = make_thread_communicators(setup.ranks, std::chrono::seconds(60));
  std::vector<std::vector<double>> losses(communicators.size());
  std::vector<std::exception_ptr> errors(communicators.size());
  const auto run = [&](std::size_t rank) {
    if (rank == 0 && trained != nullptr) {
      return train_rank(setup, *communicators[rank], *trained);
    }
    const auto objective =
        setup.is_locally_normalised
            ? std::make_unique<LocallyNormalised>(shape(), MaskingOptions{}, at::TensorOptions())
            : std::make_unique<BertObjective>(shape(), MaskingOptions{}, at::TensorOptions());
    objective->initialise(1);
    return train_rank(setup, *communicators[rank], *objective);
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < communicators.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          losses[rank] = run(rank);
        } catch (...) {
          errors[rank] = std::current_exception();
        }
      });
    }
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return losses[0];
}

}  // namespace kiln::markov
