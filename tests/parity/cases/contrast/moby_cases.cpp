#include "models/moby/moby.h"
#include "tests/parity/cases/contrast/momentum_training.h"
#include "tests/parity/runners.h"

// Training steps of MoBY.

namespace kiln::parity {
namespace {

void run_moby(Case& reference, Report& report) {
  const nlohmann::json& settings = reference.info.at("settings");
  const std::vector<HeadLayer> head = moby_head(settings.at("hidden"), settings.at("out"));
  const MomentumShape shape{.backbone = vit_of(settings, true),
                            .projector = head,
                            .predictor = head,
                            .is_symmetric = true};
  MobyObjective objective(shape, settings.at("queue"), settings.at("temperature"),
                          PixelNormalisation({}, {}), reference.options().dtype(at::kFloat));
  OptimizerOptions optimizer;
  optimizer.betas = settings.at("betas").get<std::vector<double>>();
  optimizer.eps = settings.at("eps");
  optimizer.weight_decay = settings.at("weight_decay");
  run_momentum_training(reference,
                        {.objective = &objective,
                         .optimizer = optimizer,
                         .aliases = {{"encoder_k.", "momentum.backbone."},
                                     {"encoder.", "backbone."},
                                     {"projector_k.", "momentum.head."},
                                     {"projector.", "head."},
                                     {"linear_hidden.1.", "0."},
                                     {"linear_hidden.2.", "1."},
                                     {"linear_out.", "3."}},
                         .views = {{"image.0", "view1"}, {"image.1", "view2"}},
                         .rows = {{"q.0", "p1"}, {"k.1", "k2"}},
                         .queues = {{"queue1", "queue1"}, {"queue2", "queue2"}}},
                        report);
}

}  // namespace

Runners moby_runners() { return {{.name = "moby", .run = run_moby}}; }

}  // namespace kiln::parity
