#include <fmt/format.h>

#include "models/mae/vit_config.h"
#include "models/mae/vit_names.h"
#include "models/vit/vit_classifier.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

void run_vit_classifier(Case& reference, Report& report) {
  const ClassifierShape shape =
      classifier_shape_from_config(reference.config, reference.dir.string());
  const NameTable table = vit_classifier_names(shape.encoder);
  ClassifierObjective objective(shape, ClassifierLoss{}, PixelNormalisation({}, {}),
                                reference.options());
  load_tensors(objective.module(), to_ours(table, reference.weights, reference.name),
               reference.name);
  const VitClassifier& network = objective.network();

  Batch batch;
  batch.num_samples = reference.at("labels").size(0);
  batch.tensors["image"] = reference.input("pixel_values").permute({0, 2, 3, 1}).contiguous();
  batch.tensors["label"] = reference.at("labels");
  objective.prepare(batch, 0);

  {
    const at::NoGradGuard no_grad;
    DropoutStream none;
    at::Tensor x = network.embed(patchify(batch.at("image"), network.shape.patch), {});
    report.compare_if_stored("act.embeddings", x);
    for (std::size_t i = 0; i < network.blocks.size(); ++i) {
      x = network.blocks[i]->forward(x, {}, none);
      report.compare_if_stored(fmt::format("act.encoder.{}", i), x);
    }
    report.compare_if_stored("act.layernorm", network.norm->forward(x));
  }
  report.compare("logits", objective.scores(batch));
  const at::Tensor loss = objective.loss(batch, StepContext{.is_training = false}, 0)->value;
  report.compare("loss", loss);
  loss.backward();
  NamedTensors gradients;
  for (const Parameter& parameter : objective.parameters(0)) {
    gradients[parameter.name] = parameter.tensor.grad();
  }
  for (const auto& [name, gradient] : to_theirs(table, gradients)) {
    report.compare("grad." + name, gradient);
  }
}

}  // namespace

Runners vit_runners() {
  return {
      {.name = "vit_cls", .config_class = "ViTForImageClassification", .run = run_vit_classifier}};
}

}  // namespace kiln::parity
