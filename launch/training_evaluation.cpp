#include "launch/training_evaluation.h"

#include <torch/torch.h>

#include "core/file_io.h"
#include "core/picture.h"
#include "launch/evaluations.h"
#include "models/evaluation.h"

namespace kiln {

TrainingEvaluation::TrainingEvaluation(TrainingSetup& setup, World& world, at::Device device)
    : setup_(setup), world_(world), device_(device) {
  const auto open = [&](const std::string& path) {
    return open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kEvaluation, path);
  };
  data_ = open(setup.recipe.eval.path);
  if (!setup.recipe.eval.train_path.empty()) train_data_ = open(setup.recipe.eval.train_path);
}

void TrainingEvaluation::run(Trainer& trainer, const std::filesystem::path& run_folder,
                             MetricsLog* log) {
  const Evaluated evaluated{.objective = *setup_.objective,
                            .recipe = setup_.recipe,
                            .data = data_,
                            .train_data = train_data_ ? &*train_data_ : nullptr,
                            .communicator = world_.communicator(),
                            .device = device_,
                            .num_threads = world_.cores()};
  trainer.with_average_weights([&] {
    if (train_data_ && dynamic_cast<FeatureExtractor*>(setup_.objective.get())) {
      const Figures figures = evaluate_knn(evaluated);
      if (log) log->evaluation(trainer.step(), {{"knn_accuracy", figures.at("accuracy")}});
    }
    if (!log || !dynamic_cast<Reconstructor*>(setup_.objective.get())) return;
    const at::Tensor picture = reconstruction_picture(evaluated);
    const auto folder = run_folder / "pictures";
    std::filesystem::create_directories(folder);
    write_png(folder / fmt::format("step-{:09}.png", trainer.step()), picture);
    log->picture(trainer.step(), "reconstructions", static_cast<int>(picture.size(1)),
                 static_cast<int>(picture.size(0)), encode_png(picture));
  });
}

}  // namespace kiln
