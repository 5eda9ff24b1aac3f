#include <cmath>

#include "core/schedule/schedule.h"
#include "core/torch.h"
#include "core/training/trainer.h"
#include "launch/bench/bench.h"
#include "launch/run/device.h"
#include "launch/run/make_trainer.h"
#include "models/capabilities.h"
#include "models/layers/parameters.h"

namespace kiln {

namespace {

// With run.cuda_graph and a micro-batch a step, the last of them makes the recording.
constexpr std::int64_t kWarmUpSteps = MicroBatchPass::kRehearsals + 1;

/// FLOP/s of the model's matrix products (convolutions as theirs) at the sizes of one micro-batch:
/// each is measured alone and weighted by its share of the model's work.
Spread gemm_peak(const Workload::Work& model, at::Device device, at::ScalarType type,
                 std::int64_t repeats) {
  std::vector<double> totals(static_cast<std::size_t>(repeats), 0.0);
  double work = 0;
  for (const Workload::Operator& shape : model.operators) {
    if (shape.m == 0) continue;
    const auto options = at::TensorOptions(device).dtype(type);
    const at::Tensor a = at::randn({shape.m, shape.k}, options);
    const at::Tensor b = at::randn({shape.n, shape.k}, options);
    const int calls =
        device.is_cuda() ? 10 : 1;  // so that the start of the first one is not measured
    const auto seconds = seconds_of(repeats, [&] {
      for (int call = 0; call < calls; ++call) at::linear(a, b);
      if (device.is_cuda()) torch::cuda::synchronize();
    });
    for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += seconds[i] * shape.count / calls;
    work += 2.0 * static_cast<double>(shape.m * shape.n * shape.k) * shape.count;
  }
  return spread_of(rates(work, totals));
}

}  // namespace

void run_steps(World& world, TrainingSetup& setup, std::int64_t repeats,
               const std::function<void()>& warmed_up,
               const std::function<void(const StepReport&)>& report) {
  const at::AutoGradMode with_grad(true);
  setup.recipe.log.every = 1;
  setup.recipe.train.stop_after = kWarmUpSteps + repeats;
  setup.total_samples = std::max(setup.total_samples,
                                 setup.recipe.train.stop_after * setup.recipe.train.global_batch);
  const at::Device device = device_of_run(setup.recipe.run, world);
  TrainerExtras extras;
  extras.hooks.report = [&](const StepReport& step) {
    if (step.step > kWarmUpSteps) report(step);
    if (step.step == kWarmUpSteps) warmed_up();
  };
  make_trainer(setup, world, device, std::move(extras)).trainer->run();
}

Json bench_step(World& world, TrainingSetup& setup, std::int64_t repeats) {
  const at::NoGradGuard no_grad_for_peak;
  const Recipe& recipe = setup.recipe;
  std::vector<double> samples_per_s, data_wait_s, comm_wait_s;
  std::int64_t memory_bytes = 0;
  const auto collect = [&](const StepReport& report) {
    samples_per_s.push_back(report.samples_per_s);
    data_wait_s.push_back(report.data_wait_s);
    comm_wait_s.push_back(report.comm_wait_s);
    memory_bytes = std::max(memory_bytes, report.memory_bytes);
  };
  run_steps(
      world, setup, repeats, [] {}, collect);
  const double samples = static_cast<double>(recipe.train.global_batch);
  const at::Device device = choose_device(recipe.run.device, world);
  Json figures = {{"samples_per_s", to_json(spread_of(samples_per_s))},
                  {"step_s", to_json(spread_of(rates(samples, samples_per_s)))},
                  {"data_wait_s", to_json(spread_of(data_wait_s))},
                  {"comm_wait_s", to_json(spread_of(comm_wait_s))},
                  {"memory_bytes", memory_bytes},
                  {"precision", recipe.run.precision},
                  {"cuda_graph", recipe.run.cuda_graph && device.is_cuda()},
                  {"threads", at::get_num_threads()},
                  {"global_batch", recipe.train.global_batch},
                  {"micro_batch", recipe.train.micro_batch}};
  auto* workload = dynamic_cast<Workload*>(setup.objective.get());
  if (!workload) return figures;
  const Workload::Work work = workload->work(setup.data.source->allocate(recipe.train.micro_batch));
  const auto type = weights_type(recipe);
  const Spread peak = gemm_peak(work, device, type, 5);
  const double sample_flops = work.training_flops() / static_cast<double>(recipe.train.micro_batch);
  const double achieved = spread_of(samples_per_s).median * sample_flops / world.size();
  figures["flops_per_sample"] = sample_flops;
  figures["flops_per_s_per_rank"] = achieved;
  figures["ceiling"] = {{"gemm_flops_per_s_per_rank", to_json(peak)}};
  figures["of_ceiling"] = achieved / peak.median;
  return figures;
}

}  // namespace kiln
