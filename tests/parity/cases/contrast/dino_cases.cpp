#include <fmt/format.h>

#include "core/torch.h"
#include "models/dino/dino.h"
#include "tests/parity/cases/contrast/momentum_training.h"
#include "tests/parity/runners.h"

// Training steps of DINO.

namespace kiln::parity {
namespace {

DinoShape shape_of(const nlohmann::json& settings) {
  DinoShape shape{.backbone = vit_of(settings, true)};
  shape.hidden = settings.at("hidden");
  shape.bottleneck = settings.at("bottleneck");
  shape.out = settings.at("out");
  shape.num_crops = settings.at("crops");
  shape.has_fixed_norms = settings.at("norm_last_layer");
  shape.student_temperature = settings.at("student_temperature");
  shape.center_momentum = settings.at("center_momentum");
  return shape;
}

Batch batch_of(const Case& reference, const std::string& step, std::int64_t crops) {
  Batch batch;
  for (std::int64_t v = 0; v < crops; ++v) {
    batch.tensors[fmt::format("image.{}", v)] =
        pictures(reference, fmt::format("{}crop{}", step, v));
  }
  batch.num_samples = batch.at("image.0").size(0);
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
  return batch;
}

std::string our_name(const std::string& theirs) {
  return theirs.starts_with("student.") ? theirs.substr(8) : theirs;
}

void compare_backbone(const Case& reference, const DinoShape& shape, Report& report) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  for (const auto resampling : {PositionResampling::kScale, PositionResampling::kSize}) {
    DinoShape other = shape;
    other.resampling = resampling;
    DinoObjective objective(other, PixelNormalisation({}, {}), reference.options());
    load_tensors(objective.module(), reference.weights, reference.name);
    const Batch batch = batch_of(reference, "step1.", shape.num_crops);
    const at::Tensor &whole = batch.at("image.0"), &local = batch.at("image.2");
    const Backbone& student = objective.student();
    const bool is_by_size = resampling == PositionResampling::kSize;
    report.compare(is_by_size ? "positions.local_by_size" : "positions.local",
                   student.positions(local.size(1)));
    if (!is_by_size) continue;
    const auto mode = BatchNormMode::kEvaluation;
    report.compare("hf.global", student.forward(whole, mode, none));
    report.compare("hf.local", student.forward(local, mode, none));
  }
}

/// Clipping of every tensor alone, a frozen last layer, a weight decay of the step's own.
void update(Trainee& trainee, const Case& reference, std::int64_t step,
            const std::vector<double>& norms) {
  const nlohmann::json& settings = reference.info.at("settings");
  const std::int64_t frozen = settings.at("freeze_last_layer_steps");
  std::vector<double> scales;
  std::vector<std::int64_t> updates;
  const std::vector<std::string> names = trainee.names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    scales.push_back(clip_factor(norms[i], settings.at("clip")));
    const bool is_last = names[i].starts_with("head.last_layer.");
    updates.push_back(is_last ? std::max<std::int64_t>(0, step + 1 - frozen) : step + 1);
  }
  trainee.step({.lr = reference.at("lr")[step].item<double>(),
                .gradient_scales = scales,
                .updates = updates,
                .weight_decay = reference.at("weight_decay")[step].item<double>()});
}

/// `norms` of named parameters in the order of the case.
at::Tensor in_their_order(const Case& reference, const std::vector<std::string>& names,
                          const std::vector<double>& norms) {
  std::vector<double> ordered;
  for (const std::string theirs : reference.info.at("settings").at("clipped_parameters")) {
    const auto found = std::ranges::find(names, our_name(theirs));
    ordered.push_back(norms.at(static_cast<std::size_t>(found - names.begin())));
  }
  return at::tensor(ordered, at::kDouble);
}

at::Tensor teacher_checksums(const Case& reference, DinoObjective& objective) {
  const NamedTensors ours = named_tensors(objective.module());
  std::vector<at::Tensor> sums;
  for (const std::string name : reference.info.at("settings").at("momentum_parameters")) {
    sums.push_back(checksum(ours.at(name)));
  }
  return at::stack(sums);
}

void run_dino(Case& reference, Report& report) {
  reference.rename({{"student.", ""}});
  const nlohmann::json& settings = reference.info.at("settings");
  const DinoShape shape = shape_of(settings);
  compare_backbone(reference, shape, report);
  DinoObjective objective(shape, PixelNormalisation({}, {}), reference.options().dtype(at::kFloat));
  load_tensors(objective.module(), reference.weights, reference.name);
  OptimizerOptions optimizer;
  optimizer.betas = settings.at("betas").get<std::vector<double>>();
  optimizer.eps = settings.at("eps");
  Trainee trainee(objective.parameters(0), optimizer);
  const auto num_steps = reference.at("lr").numel();
  std::vector<double> losses;
  std::vector<at::Tensor> norms;
  for (std::int64_t i = 0; i < num_steps; ++i) {
    const std::string name = fmt::format("step{}.", i + 1);
    const Batch batch = batch_of(reference, name, shape.num_crops);
    StepContext context;
    context.global_batch = batch.num_samples;
    context.values["teacher_temperature"] = reference.at("teacher_temperature")[i].item<double>();
    trainee.zero_gradients();
    {
      const at::NoGradGuard no_grad;
      report.compare(name + "student", objective.student_scores(batch, context));
      report.compare(name + "teacher", objective.teacher_scores(batch));
    }
    const at::Tensor loss = objective.loss(batch, context, 0)->value;
    loss.backward();
    losses.push_back(loss.item<double>());
    const std::vector<double> found = trainee.gradient_norms();
    norms.push_back(in_their_order(reference, trainee.names(), found));
    for (const Parameter& parameter : objective.parameters(0)) {
      if (i == 0) report.compare("grad." + parameter.name, parameter.tensor.grad());
    }
    update(trainee, reference, i, found);
    objective.after_step(context, objective.sums(0), {});
    move_averages(objective, reference.at("momentum")[i].item<double>());
    report.compare(name + "center", named_tensors(objective.module()).at("center"));
    report.compare(name + "momentum", teacher_checksums(reference, objective));
  }
  report.compare("losses", at::tensor(losses, at::kDouble));
  report.compare("parameter_grad_norms", at::stack(norms));
  for (const auto& [name, tensor] : named_tensors(objective.module())) {
    report.compare_if_stored("final." + name, tensor);
  }
}

}  // namespace

Runners dino_runners() { return {{.name = "dino", .run = run_dino}}; }

}  // namespace kiln::parity
