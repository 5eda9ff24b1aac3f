#include <gtest/gtest.h>

#include <memory>

#include "core/training/trainer.h"
#include "dist/gradient_exchange.h"
#include "dist/local_communicator.h"
#include "models/layers/block.h"
#include "models/layers/conv.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"
#include "tests/support/normal.h"

// A critic with a gradient penalty (Gulrajani et al., arXiv:1704.00028) trained by the real loop:
// once through Kiln's layers, whose backward writes into flat memory, once through LibTorch's.

namespace kiln {
namespace {

constexpr std::int64_t kChannels = 32, kSize = 6, kMicroBatch = 3, kBatch = 12;

/// Convolutions, group norm and a transformer block: [B, 4, 6, 6] -> [B].
struct Critic : torch::nn::Module {
  explicit Critic(bool has_own) : has_own_layers(has_own) {
    const at::TensorOptions fp32 = at::kFloat;
    conv1 = add<Conv2d>(*this, "conv1", 4, kChannels, 3, fp32, 1, 1);
    norm = add<GroupNorm>(*this, "norm", 8, kChannels, 1e-5, fp32);
    conv2 = add<Conv2d>(*this, "conv2", kChannels, kChannels, 3, fp32, 1, 1);
    block = add<TransformerBlock>(*this, "block",
                                  BlockOptions{.dim = kChannels, .heads = 2, .mlp_dim = 48}, fp32);
    last_norm = add<LayerNorm>(*this, "last_norm", kChannels, 1e-6, fp32);
    head = add<Linear>(*this, "head", kChannels, 1, fp32);
    std::int64_t number = 50;
    const at::NoGradGuard no_grad;
    for (const at::Tensor& tensor : parameters()) {
      const double scale = tensor.dim() > 1 ? 1.0 / std::sqrt(tensor[0].numel()) : 0.2;
      at::Tensor(tensor).copy_(normal(tensor.sizes(), number++) * scale);
    }
  }

  at::Tensor own(const at::Tensor& x) const {
    DropoutStream none;
    const at::Tensor maps = conv2->forward_trained(norm->forward_silu(conv1->forward_trained(x)));
    const at::Tensor tokens = block->forward(to_tokens(maps), {}, none);
    return head->forward(last_norm->forward(tokens)).mean(1).squeeze(1);
  }
  at::Tensor plain(const at::Tensor& x) const {
    const auto linear = [](const Linear& l, const at::Tensor& in) {
      return at::linear(in, l.weight, l.bias);
    };
    const auto normalised = [](const LayerNorm& n, const at::Tensor& in) {
      return at::layer_norm(in, {kChannels}, n.weight, n.bias, n.eps);
    };
    const auto convolved = [](const Conv2d& c, const at::Tensor& in) {
      return at::conv2d(in, c.weight, c.bias, at::IntArrayRef{1, 1}, at::IntArrayRef{1, 1});
    };
    at::Tensor maps = at::group_norm(convolved(*conv1, x), 8, norm->weight, norm->bias, norm->eps);
    maps = convolved(*conv2, at::silu(maps));
    at::Tensor tokens = to_tokens(maps);
    std::vector<at::Tensor> qkv;
    for (const at::Tensor& part :
         linear(*block->attn->qkv, normalised(*block->norm1, tokens)).chunk(3, -1)) {
      qkv.push_back(part.unflatten(-1, {2, -1}).transpose(1, 2));
    }
    const at::Tensor weights = at::matmul(qkv[0], qkv[1].transpose(-2, -1)) / 4.0;  // sqrt(d)
    const at::Tensor mixed = at::matmul(weights.softmax(-1), qkv[2]).transpose(1, 2).flatten(2);
    tokens = tokens + linear(*block->attn->proj, mixed);
    const at::Tensor hidden = linear(*block->mlp->fc1, normalised(*block->norm2, tokens));
    tokens = tokens + linear(*block->mlp->fc2, at::gelu(hidden));
    return linear(*head, normalised(*last_norm, tokens)).mean(1).squeeze(1);
  }
  at::Tensor forward(const at::Tensor& x) const { return has_own_layers ? own(x) : plain(x); }

  bool has_own_layers;
  std::shared_ptr<Conv2d> conv1, conv2;
  std::shared_ptr<GroupNorm> norm;
  std::shared_ptr<TransformerBlock> block;
  std::shared_ptr<LayerNorm> last_norm;
  std::shared_ptr<Linear> head;
};

class CriticObjective final : public Objective {
 public:
  explicit CriticObjective(bool has_own_layers)
      : critic_(std::make_shared<Critic>(has_own_layers)) {}
  torch::nn::Module& module() override { return *critic_; }
  void prepare(Batch&, std::uint64_t) const override {}
  std::vector<Parameter> parameters(std::size_t) override {
    std::vector<Parameter> list;
    append_parameters(list, "critic", *critic_);
    return list;
  }
  // mean(D(made) - D(real)) + 10 mean((|grad D| - 1)^2), the gradient at the real ones; all by a
  // factor that follows from a gradient at weights, as the adaptive weight of an autoencoder does.
  std::optional<Loss> loss(const Batch& batch, const StepContext&, std::size_t) override {
    const at::Tensor x = batch.at("x").clone().requires_grad_();
    const at::Tensor real = critic_->forward(x), made = critic_->forward(batch.at("made"));
    const at::Tensor gradient = torch::autograd::grad({real.sum()}, {x}, {}, /*retain_graph=*/true,
                                                      /*create_graph=*/true)[0];
    const at::Tensor penalty = (gradient.flatten(1).norm(2, {1}) - 1.0).square();
    const at::Tensor at_weights =
        torch::autograd::grad({real.sum()}, {critic_->conv2->weight, critic_->head->weight}, {},
                              /*retain_graph=*/true)[0];
    const at::Tensor factor = 1.0 / (1.0 + at_weights.detach().norm());
    return Loss{((made - real + 10.0 * penalty) * factor / static_cast<double>(kBatch)).sum(), {}};
  }
  std::shared_ptr<Critic> critic_;
};

class CriticLoader final : public Loader {
 public:
  void start(std::int64_t samples_seen) override { samples_seen_ = samples_seen; }
  std::vector<Batch> next() override {
    std::vector<Batch> batches;
    for (std::int64_t m = 0; m < kBatch / kMicroBatch; ++m) {
      batches.push_back(read(samples_seen_, m));
    }
    samples_seen_ += kBatch;
    return batches;
  }
  Batch read(std::int64_t samples_seen, std::int64_t micro_batch) override {
    Batch batch;
    batch.micro_batch = micro_batch;
    batch.num_samples = kMicroBatch;
    batch.first_position = samples_seen + micro_batch * kMicroBatch;
    const std::int64_t number = 1000 + 2 * batch.first_position;
    batch.tensors["x"] = normal({kMicroBatch, 4, kSize, kSize}, number);
    batch.tensors["made"] = normal({kMicroBatch, 4, kSize, kSize}, number + 1) * 0.5 + 0.5;
    return batch;
  }
  bool is_ready_within(double) override { return true; }
  std::int64_t num_samples() const override { return 1000; }

 private:
  std::int64_t samples_seen_ = 0;
};

/// Weights after 5 steps, one after another in one vector.
at::Tensor trained(bool has_own_layers) {
  CriticObjective objective(has_own_layers);
  CriticLoader loader;
  const auto communicator = make_local_communicator();
  Recipe recipe;
  recipe.train.steps = 5;
  recipe.train.global_batch = kBatch;
  recipe.train.micro_batch = kMicroBatch;
  recipe.train.clip_norm = 0.0;
  recipe.optimizer.name = "sgd";
  recipe.optimizer.lr = 0.04;
  recipe.optimizer.weight_decay = 0.0;
  const std::int64_t total = 5 * kBatch;
  Trainer trainer({.recipe = recipe,
                   .total_samples = total,
                   .schedule = Schedule(recipe.schedule, *recipe.optimizer.lr, total, 1000, kBatch),
                   .objective = objective,
                   .loader = loader,
                   .communicator = *communicator,
                   .make_exchange =
                       [&](FlatParameters& flat) {
                         return make_gradient_exchange(flat, *communicator,
                                                       {.num_micro_batches = kBatch / kMicroBatch});
                       },
                   .header = {},
                   .hooks = {}});
  EXPECT_EQ(trainer.run(), ExitCode::kDone);
  std::vector<at::Tensor> all;
  for (const at::Tensor& tensor : objective.critic_->parameters()) {
    all.push_back(tensor.detach().flatten().clone());
  }
  return at::cat(all);
}

// Both are fp32, with sums of other orders: the bound is what twenty passes may add to a rounding
// of the largest weights, and a thousandth of what the training moves.
TEST(PenaltyTraining, EndsInTheWeightsOfPlainLayers) {
  std::vector<at::Tensor> first;
  for (const at::Tensor& tensor : Critic(true).parameters()) first.push_back(tensor.flatten());
  const at::Tensor own = trained(true), plain = trained(false), start = at::cat(first);
  const auto distance = [](const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().max().item<double>();
  };
  EXPECT_GT(distance(plain, start), 2e-2);
  EXPECT_LE(distance(own, plain), 2e-5);
}

}  // namespace
}  // namespace kiln
