// Parts of Kiln in a loop of one's own: what DistributedDataParallel and ZeroRedundancyOptimizer are
// in Python. Ranks, exchange of gradients that overlaps with backward, AdamW with its state cut into
// slices.
//
//   mpirun -np 2 own_loop
//
// Every rank reads its share of the micro-batches; all print the same loss.

#include <kiln/core/optimizer/optimizer.h>
#include <kiln/core/training/training_phase.h>
#include <kiln/dist/gradient_exchange.h>
#include <kiln/dist/mpi/process.h>
#include <torch/nn.h>
#include <torch/utils.h>

#include <iostream>

constexpr std::int64_t kMicroBatches = 4, kSamples = 16;  // a step's, and of each of them

// A micro-batch of a toy problem, the same wherever it is drawn: y = sin(x).
std::pair<at::Tensor, at::Tensor> draw(std::int64_t number) {
  torch::manual_seed(static_cast<std::uint64_t>(1000 + number));
  const at::Tensor x = at::randn({kSamples, 8});
  return {x, x.sin()};
}

int main() try {
  kiln::Process process;  // the ranks that mpirun started; alone, one
  kiln::Communicator& ranks = process.communicator();
  at::set_num_threads(1);

  torch::manual_seed(1);
  torch::nn::Sequential net(torch::nn::Linear(8, 64), torch::nn::Tanh(), torch::nn::Linear(64, 8));
  std::vector<kiln::Parameter> parameters;
  for (const auto& [name, tensor] : net->named_parameters().pairs()) {
    parameters.push_back({.name = name, .tensor = tensor});
  }
  kiln::TrainingPhase::Options options;
  options.optimizer.name = "adamw";
  options.is_sharded = ranks.size() > 1;
  kiln::TrainingPhase phase(
      "all", parameters, options,
      [&](kiln::FlatParameters& flat) {
        return kiln::make_gradient_exchange(flat, ranks,
                                            {.is_reproducible = true,
                                             .is_sharded = options.is_sharded,
                                             .num_micro_batches = kMicroBatches});
      },
      ranks);

  const kiln::Range own = kiln::share_of(kMicroBatches, ranks.rank(), ranks.size());
  for (std::int64_t step = 0; step < 50; ++step) {
    const at::Tensor loss = at::zeros({1}, at::kDouble);
    phase.exchange().begin_step();
    for (std::int64_t m = own.begin; m < own.end; ++m) {
      const auto [x, y] = draw(step * kMicroBatches + m);
      phase.exchange().begin(m, m + 1 == own.end);
      const at::Tensor value = at::mse_loss(net->forward(x), y) / kMicroBatches;
      value.backward();  // complete buckets are sent meanwhile
      phase.exchange().end_micro_batch();
      loss.add_(value.detach());
    }
    phase.exchange().finish();
    phase.update({.norm = phase.gradient_norm(), .lr = 0.01});
    ranks.all_reduce(loss).wait();
    if (ranks.rank() == 0 && step % 10 == 9) {
      std::cout << "step " << step + 1 << " loss " << loss.item<double>() << std::endl;
    }
  }
  std::map<std::string, kiln::Digest> digests;
  phase.add_digests(digests);  // collective
  if (ranks.rank() == 0) {
    for (const auto& [name, digest] : digests)
      std::cout << name << " " << digest.hex() << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << std::endl;
  return 1;
}
