#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/torch.h"
#include "launch/bench/bench.h"
#include "launch/run/device.h"

namespace kiln {

namespace {

using torch::autograd::profiler::KinetoEvent;

struct Span {
  std::string name;
  std::uint64_t begin_ns, end_ns;
};

struct Total {
  std::int64_t calls = 0;
  double seconds = 0;
};

/// Each span's time without that of the spans inside it, summed by name.
void add_self_times(std::vector<Span> spans, std::map<std::string, Total>& totals) {
  std::ranges::sort(spans, [](const Span& a, const Span& b) {
    return a.begin_ns != b.begin_ns ? a.begin_ns < b.begin_ns : a.end_ns > b.end_ns;
  });
  std::vector<const Span*> open;
  for (const Span& span : spans) {
    while (!open.empty() && open.back()->end_ns <= span.begin_ns) open.pop_back();
    const double seconds = static_cast<double>(span.end_ns - span.begin_ns) * 1e-9;
    if (!open.empty()) totals[open.back()->name].seconds -= seconds;
    totals[span.name].seconds += seconds;
    totals[span.name].calls += 1;
    open.push_back(&span);
  }
}

}  // namespace

/// Where the time of a step goes, by its own time, the longest first: on a GPU kernels and copies,
/// elsewhere operators.
Json bench_profile(World& world, TrainingSetup& setup, std::int64_t repeats) {
  namespace profiler = torch::autograd::profiler;
  using torch::profiler::impl::ActivityType;
  setenv("KINETO_LOG_LEVEL", "5",
         /*overwrite=*/0);  // it returns an error on a machine without a GPU
  const at::Device device = choose_device(setup.recipe.run.device, world);
  std::set<ActivityType> activities = {ActivityType::CPU};
  if (device.is_cuda()) activities.insert(ActivityType::CUDA);
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::vector<double> step_s;
  const auto warmed_up = [&] {
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities,
                             {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION});
  };
  std::unique_ptr<profiler::ProfilerResult> result;
  run_steps(world, setup, repeats, warmed_up, [&](const StepReport& report) {
    step_s.push_back(static_cast<double>(setup.recipe.train.global_batch) / report.samples_per_s);
    if (static_cast<std::int64_t>(step_s.size()) < repeats) return;
    if (device.is_cuda()) torch::cuda::synchronize();
    result = profiler::disableProfiler();
  });

  // With a GPU the host only starts what runs there.
  std::map<std::uint64_t, std::vector<Span>> lines;  // by thread of the host or stream of the GPU
  for (const KinetoEvent& event : result->events()) {
    if ((event.deviceType() != at::kCPU) != device.is_cuda()) continue;
    const auto line = device.is_cuda() ? static_cast<std::uint64_t>(event.deviceResourceId())
                                       : event.startThreadId();
    lines[line].push_back({event.name(), event.startNs(), event.endNs()});
  }
  std::map<std::string, Total> totals;
  for (auto& [line, spans] : lines) add_self_times(std::move(spans), totals);
  std::vector<std::pair<std::string, Total>> rows(totals.begin(), totals.end());
  std::ranges::sort(
      rows, [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });

  const double steps = static_cast<double>(repeats);
  double sum = 0;
  Json table;
  for (const auto& [name, total] : rows) {
    sum += total.seconds / steps;
    table[name] = {{"calls", static_cast<double>(total.calls) / steps},
                   {"seconds", total.seconds / steps}};
  }
  Json figures = {{"step_s", to_json(spread_of(step_s))},
                  {"accounted_s", sum},
                  {"device", device.str()},
                  {"precision", setup.recipe.run.precision},
                  {"micro_batch", setup.recipe.train.micro_batch}};
  figures["operators"] = std::move(table);
  return figures;
}

}  // namespace kiln
