#include <fmt/format.h>

#include <bit>

#include "core/optimizer/optimizer.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "core/training/phase_settings.h"
#include "launch/train/train.h"

namespace kiln {

namespace {

std::int64_t num_parameters(Objective& objective) {
  std::int64_t count = 0;
  for (std::size_t phase = 0; phase < objective.phases().size(); ++phase) {
    for (const Parameter& parameter : objective.parameters(phase))
      count += parameter.tensor.numel();
  }
  return count;
}

struct Bytes {
  std::int64_t weights_and_gradients = 0;  // on every rank
  std::int64_t optimizer = 0;              // on every rank, or shared by all when sharded
  std::int64_t averages = 0;               // networks that follow, on every rank
  std::int64_t checkpoint = 0;
};

std::int64_t num_averaged(Objective& objective) {
  std::int64_t count = 0;
  for (const Average& average : objective.averages()) {
    for (const auto& pair : average.pairs) count += pair.target.numel();
  }
  return count;
}

Bytes bytes_of(const TrainingSetup& setup) {
  const Recipe& recipe = setup.recipe;
  Objective& objective = *setup.objective;
  const bool is_bf16 = recipe.run.precision == "bf16";
  const bool keeps_ema = recipe.ema.decay > 0 || recipe.ema.half_life_samples > 0;
  const std::vector<Phase> phases = objective.phases();
  const auto settings = phase_settings(recipe, phases, recipe.optimizer.lr.value());
  Bytes bytes;
  for (std::size_t phase = 0; phase < phases.size(); ++phase) {
    std::int64_t parameters = 0;
    for (const Parameter& parameter : objective.parameters(phase)) {
      parameters += parameter.tensor.numel();
    }
    const auto moments =
        static_cast<std::int64_t>(Optimizer(settings[phase].optimizer).moment_names().size());
    const std::int64_t saved = 1 + moments + (keeps_ema && phases[phase].has_average);
    // fp32 weights are the master copy; all phases but the last can be undone.
    const std::int64_t kept = phase + 1 < phases.size() ? saved : 0;
    bytes.weights_and_gradients += parameters * (is_bf16 ? 2 + 2 : 4 + 4);
    bytes.optimizer += parameters * 4 * (saved - 1 + is_bf16 + kept);
    bytes.checkpoint += parameters * 4 * saved;
  }
  bytes.averages = num_averaged(objective) * (is_bf16 ? 2 + 4 : 4);
  bytes.checkpoint += num_averaged(objective) * 4;
  return bytes;
}

/// Reproducible mode keeps the micro-gradients it has not yet added up, as a binary counter does.
std::int64_t tree_bytes(const TrainingSetup& setup, std::int64_t parameters) {
  const auto micro_batches = static_cast<std::uint64_t>(setup.num_micro_batches());
  return (1 + std::bit_width(micro_batches)) * parameters * std::int64_t{sizeof(float)};
}

}  // namespace

std::int64_t checkpoint_bytes(const TrainingSetup& setup) { return bytes_of(setup).checkpoint; }

DryRun describe(const TrainingSetup& setup) {
  const Recipe& recipe = setup.recipe;
  const std::int64_t batch = recipe.train.global_batch;
  const std::int64_t steps = (setup.total_samples + batch - 1) / batch;
  const std::int64_t parameters = num_parameters(*setup.objective);
  const double epochs = static_cast<double>(setup.total_samples) /
                        static_cast<double>(std::max<std::int64_t>(1, setup.data.info.num_samples));
  const Bytes bytes = bytes_of(setup);
  DryRun result;
  result.json = {{"parameters", parameters},
                 {"steps", steps},
                 {"samples", setup.total_samples},
                 {"epochs", epochs},
                 {"dataset_samples", setup.data.info.num_samples},
                 {"micro_batches", setup.num_micro_batches()},
                 {"weights_and_gradients_bytes", bytes.weights_and_gradients},
                 {"optimizer_bytes", bytes.optimizer},
                 {"checkpoint_bytes", bytes.checkpoint},
                 {"recipe_hash", setup.recipe_hash()},
                 {"run_dir", recipe.run.dir}};
  const auto size = [](std::int64_t count) { return format_bytes(static_cast<double>(count)); };
  result.text = setup.reader.resolved_toml();
  result.text += fmt::format(
      "\n# What this implies\n"
      "# parameters      {}\n"
      "# length          {} steps, {} samples, {:.2f} passes over {} samples\n"
      "# ranks           at most {}: a step has so many micro-batches of {}\n"
      "# memory          {} of weights and gradients per rank, {} of optimizer state {};\n"
      "#                 activations of one micro-batch come on top\n"
      "# a checkpoint    {}, every {} steps, {} kept\n"
      "# files           {}/: recipe.toml, metrics.jsonl, log.txt, checkpoints/, TensorBoard "
      "events\n"
      "# recipe hash     {}\n",
      format_count(parameters), format_count(steps), format_count(setup.total_samples), epochs,
      format_count(setup.data.info.num_samples), setup.num_micro_batches(),
      recipe.train.micro_batch, size(bytes.weights_and_gradients), size(bytes.optimizer),
      recipe.parallel.shard_optimizer ? "shared by all ranks" : "per rank", size(bytes.checkpoint),
      recipe.checkpoint.every, recipe.checkpoint.keep, recipe.run.dir, setup.recipe_hash());
  if (bytes.averages > 0) {
    result.json["averages_bytes"] = bytes.averages;
    result.text += fmt::format("# averages        {} of networks that follow the trained one\n",
                               size(bytes.averages));
  }
  if (recipe.run.reproducible) {
    result.json["tree_bytes_of_one_rank"] = tree_bytes(setup, parameters);
    result.text += fmt::format(
        "# reproducible    at most {} of partial sums of gradients on one rank, less on several\n",
        size(tree_bytes(setup, parameters)));
  }
  return result;
}

}  // namespace kiln
