#include "models/moco/moco.h"
#include "tests/parity/cases/contrast/momentum_training.h"
#include "tests/parity/runners.h"

// Training steps of MoCo v2 and v3.

namespace kiln::parity {
namespace {

void run_moco_v2(Case& reference, Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  const std::int64_t batch = reference.at("step1.query").size(0);
  const ResNetShape backbone = resnet_of(settings);
  const MomentumShape shape{
      .backbone = backbone,
      .projector = {{.width = backbone.dim(), .activation = HeadLayer::Activation::kRelu},
                    {.width = settings.at("dim")}},
      .num_groups = batch / settings.at("batch_norm_group").get<std::int64_t>(),
      .has_decay_everywhere = true};
  MocoQueueObjective objective(shape, settings.at("queue"), settings.at("temperature"),
                               PixelNormalisation({}, {}), reference.options().dtype(at::kFloat));
  OptimizerOptions optimizer;
  optimizer.name = "sgd";
  optimizer.momentum = settings.at("sgd_momentum");
  optimizer.weight_decay = settings.at("weight_decay");
  run_momentum_training(reference,
                        {.objective = &objective,
                         .optimizer = optimizer,
                         .aliases = {{"encoder_q.fc.", "head."},
                                     {"encoder_q.", "backbone."},
                                     {"encoder_k.fc.", "momentum.head."},
                                     {"encoder_k.", "momentum.backbone."}},
                         .views = {{"image.0", "query"}, {"image.1", "key"}},
                         .rows = {{"q.0", "q"}, {"k.1", "k"}},
                         .queues = {{"queue", "queue"}}},
                        report);
}

void run_moco_v3(Case& reference, Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  const std::int64_t hidden = settings.at("hidden"), out = settings.at("out");
  const MomentumShape shape{.backbone = vit_of(settings, false),
                            .projector = normed_head(2, hidden, out, LastNorm::kPlain),
                            .predictor = normed_head(1, hidden, out, LastNorm::kPlain),
                            .is_symmetric = true,
                            .has_frozen_patches = true,
                            .has_decay_everywhere = true};
  MocoBatchObjective objective(shape, settings.at("temperature"), PixelNormalisation({}, {}),
                               reference.options().dtype(at::kFloat));
  // The fixed positions are what we build, not only what the file gives.
  report.compare_values("positions", named_tensors(objective.module()).at("backbone.pos_embed"),
                        reference.weights.at("base_encoder.pos_embed"), {1e-6, 0.0});
  OptimizerOptions optimizer;
  optimizer.betas = settings.at("betas").get<std::vector<double>>();
  optimizer.eps = settings.at("eps");
  optimizer.weight_decay = settings.at("weight_decay");
  run_momentum_training(reference,
                        {.objective = &objective,
                         .optimizer = optimizer,
                         .aliases = {{"base_encoder.head.", "head."},
                                     {"base_encoder.", "backbone."},
                                     {"momentum_encoder.head.", "momentum.head."},
                                     {"momentum_encoder.", "momentum.backbone."}},
                         .views = {{"image.0", "view1"}, {"image.1", "view2"}},
                         .rows = {{"q.0", "q1"}, {"k.1", "k2"}}},
                        report);
}

}  // namespace

Runners moco_runners() {
  return {{.name = "moco_v2", .run = run_moco_v2}, {.name = "moco_v3", .run = run_moco_v3}};
}

}  // namespace kiln::parity
