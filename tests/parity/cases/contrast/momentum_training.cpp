#include "tests/parity/cases/contrast/momentum_training.h"

#include <fmt/format.h>

#include "core/torch.h"

namespace kiln::parity {
namespace {

constexpr const char* kAverage = "momentum.";

/// Momentum of step `i`; constant where the case has one number.
double momentum_at(const Case& reference, std::int64_t i) {
  if (reference.has("momentum")) return reference.at("momentum")[i].item<double>();
  return reference.info.at("settings").at("momentum");
}

Batch batch_of(const Case& reference, const MomentumCase& momentum_case, const std::string& step) {
  Batch batch;
  for (const auto& [ours, theirs] : momentum_case.views) {
    batch.tensors[ours] = pictures(reference, step + theirs);
  }
  if (reference.has(step + "shuffle")) batch.tensors["shuffle"] = reference.at(step + "shuffle");
  batch.num_samples = batch.tensors.begin()->second.size(0);
  return batch;
}

NamedTensors with_queues_in_rows(NamedTensors weights, const MomentumCase& momentum_case) {
  for (const auto& [ours, theirs] : momentum_case.queues) {
    const at::Tensor keys = weights.at(theirs).t().contiguous();
    weights.erase(theirs);
    weights[ours] = keys;
    weights[ours + "_ptr"] = weights.at("queue_ptr").clone();
  }
  const bool has_own_name = momentum_case.queues.contains("queue");
  if (!momentum_case.queues.empty() && !has_own_name) weights.erase("queue_ptr");
  return weights;
}

void compare_average(const Case& reference, const MomentumCase& momentum_case,
                     const std::string& name, Report& report) {
  const NamedTensors ours = named_tensors(momentum_case.objective->module());
  std::vector<at::Tensor> sums;
  for (const auto& theirs : reference.info.at("settings").at("momentum_parameters")) {
    const NamedTensors one = rename_aliases({{theirs, {}}}, momentum_case.aliases);
    sums.push_back(checksum(ours.at(one.begin()->first)));
  }
  report.compare(name, at::stack(sums));
}

void compare_step(const MomentumCase& momentum_case, const CoupledStep& step,
                  const std::string& name, Report& report) {
  for (const auto& [ours, theirs] : momentum_case.rows) {
    report.compare(name + theirs, step.rows.at(ours));
  }
  const NamedTensors state = named_tensors(momentum_case.objective->module());
  for (const auto& [ours, theirs] : momentum_case.queues) {
    report.compare(name + theirs, state.at(ours).t());
    report.compare(name + "queue_ptr", state.at(ours + "_ptr"));
  }
}

/// `has_average`: parameters of the average network, else everything.
void compare_state(const MomentumCase& momentum_case, const std::string& prefix,
                   bool has_only_average, Report& report) {
  const torch::nn::Module& module = momentum_case.objective->module();
  const auto compare = [&](const std::string& name, const at::Tensor& tensor) {
    if (has_only_average && !name.starts_with(kAverage)) return;
    const auto queue = momentum_case.queues.find(name);
    if (queue != momentum_case.queues.end()) {
      report.compare(prefix + queue->second, tensor.t());
    } else if (name.ends_with("_ptr")) {
      report.compare(prefix + "queue_ptr", tensor);
    } else {
      report.compare_if_stored(prefix + name, tensor);
    }
  };
  for (const auto& item : module.named_parameters()) compare(item.key(), item.value());
  for (const auto& item : module.named_buffers()) {
    if (!has_only_average || item.key().ends_with("pos_embed")) compare(item.key(), item.value());
  }
}

}  // namespace

VitShape vit_of(const nlohmann::json& settings, bool is_learned) {
  return {.height = settings.at("image"),
          .width = settings.at("image"),
          .channels = 3,
          .patch = settings.at("patch"),
          .dim = settings.at("dim"),
          .depth = settings.at("depth"),
          .heads = settings.at("heads"),
          .mlp_dim = settings.at("mlp"),
          .layer_norm_eps = 1e-6,
          .has_learned_positions = is_learned};
}

void run_momentum_training(Case& reference, const MomentumCase& momentum_case, Report& report) {
  reference.rename(momentum_case.aliases);
  MomentumObjective& objective = *momentum_case.objective;
  load_tensors(objective.module(), with_queues_in_rows(reference.weights, momentum_case),
               reference.name);
  Trainee trainee(objective.parameters(0), momentum_case.optimizer);
  const auto num_steps = reference.at("lr").numel();
  std::vector<double> losses, norms;
  for (std::int64_t i = 0; i < num_steps; ++i) {
    const std::string name = fmt::format("step{}.", i + 1);
    compare_average(reference, momentum_case, name + "momentum", report);
    trainee.zero_gradients();
    const CoupledStep step =
        coupled_step(objective, {batch_of(reference, momentum_case, name)}, StepContext{});
    losses.push_back(step.loss.item<double>());
    norms.push_back(trainee.gradient_norm());
    if (i == 0) {
      for (const Parameter& parameter : objective.parameters(0)) {
        report.compare("grad." + parameter.name, parameter.tensor.grad());
      }
    }
    trainee.step(reference.at("lr")[i].item<double>(), 0.0);
    objective.after_step(StepContext{}, step.sums, step.rows);
    compare_step(momentum_case, step, name, report);
    if (i + 1 == num_steps) compare_state(momentum_case, "final.", false, report);
    move_averages(objective, momentum_at(reference, i + 1));
  }
  compare_state(momentum_case, "next.", true, report);
  report.compare("losses", at::tensor(losses, at::kDouble));
  report.compare("grad_norms", at::tensor(norms, at::kDouble));
  // One update a group in order is our rule, not the mean over groups.
  for (const Buffer& buffer : objective.buffers()) report.skip("averaged." + buffer.name);
}

}  // namespace kiln::parity
