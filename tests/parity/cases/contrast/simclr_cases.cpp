#include <fmt/format.h>

#include "models/siamese/simclr.h"
#include "tests/parity/cases/contrast/coupled.h"
#include "tests/parity/runners.h"

// One step of SimCLR, whole and in micro-batches.

namespace kiln::parity {
namespace {

/// The head's last norm has no shift, which the files store as a constant 0.
NamedTensors without_last_shift(NamedTensors weights) {
  weights.erase("head.4.bias");
  return weights;
}

std::vector<Batch> batches_of(const Case& reference, std::int64_t parts) {
  std::vector<Batch> batches(static_cast<std::size_t>(parts));
  for (const auto& [ours, theirs] : {std::pair{"image.0", "view1"}, {"image.1", "view2"}}) {
    const auto images = pictures(reference, theirs).chunk(parts);
    for (std::size_t m = 0; m < batches.size(); ++m) {
      batches[m].tensors[ours] = images[m];
      batches[m].num_samples = images[m].size(0);
    }
  }
  return batches;
}

void run_variant(const Case& reference, const std::string& variant, std::int64_t parts,
                 Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  const SimclrShape shape{.backbone = resnet_of(settings),
                          .hidden = settings.at("hidden"),
                          .out = settings.at("dim"),
                          .temperature = settings.at("temperature")};
  SimclrObjective objective(shape, PixelNormalisation({}, {}), reference.options());
  load_tensors(objective.module(), without_last_shift(reference.weights), reference.name);
  const StepContext context;
  const CoupledStep step = coupled_step(objective, batches_of(reference, parts), context);
  objective.after_step(context, step.sums, step.rows);

  const auto both = [](const Rows& rows) { return at::cat({rows.at("z.0"), rows.at("z.1")}); };
  report.compare(variant + ".loss", step.loss);
  report.compare(variant + ".z", both(step.rows));
  report.compare(variant + ".z.grad", both(step.gradients));
  for (const Parameter& parameter : objective.parameters(0)) {
    report.compare(variant + ".grad." + parameter.name, parameter.tensor.grad());
  }
  // Running statistics move once a step, by the mean over micro-batches.
  for (const Buffer& buffer : objective.buffers()) {
    if (parts > 1) report.skip(variant + ".after." + buffer.name);
    if (parts > 1 && buffer.name.ends_with("num_batches_tracked")) continue;
    report.compare(variant + (parts > 1 ? ".averaged." : ".after.") + buffer.name, buffer.tensor);
  }
}

void run_simclr(Case& reference, Report& report) {
  reference.rename({{"projection_head.layers.", "head."}});
  for (const auto& [variant, parts] : reference.info.at("settings").at("variants").items()) {
    run_variant(reference, variant, parts, report);
  }
}

}  // namespace

Runners simclr_runners() { return {{.name = "simclr", .run = run_simclr}}; }

}  // namespace kiln::parity
