#include "launch/evaluate/training_evaluation.h"

#include <algorithm>

#include "core/base/file_io.h"
#include "core/report/log.h"
#include "core/report/picture.h"
#include "core/torch.h"
#include "launch/evaluate/evaluations.h"
#include "launch/evaluate/features.h"
#include "models/capabilities.h"

namespace kiln {

TrainingEvaluation::TrainingEvaluation(TrainingSetup& setup, World& world, at::Device device)
    : setup_(setup), world_(world), device_(device) {
  const auto open = [&](const std::string& path) {
    return open_data(setup.reader, setup.recipe, setup.data_kind, DataUse::kEvaluation, path);
  };
  data_ = open(setup.recipe.eval.path);
  if (!setup.recipe.eval.train_path.empty()) {
    train_data_ = open(setup.recipe.eval.train_path);
    match_classes(data_, train_data_->info.class_names, "eval.train_path");
  }
  open_picture_maker();
}

void TrainingEvaluation::open_picture_maker() {
  const auto* generator = dynamic_cast<PictureGenerator*>(setup_.objective.get());
  if (!generator) return;
  const PictureGenerator::Requirements needed = generator->requirements();
  if (needed.has_latents && needed.codec.empty()) return;
  PictureOptions options;
  options.batch = std::clamp<std::int64_t>(setup_.recipe.eval.pictures, 1, options.batch);
  options.context = texts_of_recipe(*generator, setup_.reader, setup_.recipe);
  options.seed = static_cast<std::uint64_t>(setup_.recipe.run.seed);
  maker_.emplace(*setup_.objective, setup_.recipe.run.name, options, device_);
}

TrainingEvaluation::Picture TrainingEvaluation::make_picture(const Evaluated& evaluated,
                                                             bool is_first_rank) {
  if (maker_) {
    const std::int64_t num = std::max<std::int64_t>(setup_.recipe.eval.pictures, 1);
    return {"samples", square_grid(make_pictures(*maker_, num, world_.communicator(), false))};
  }
  if (!is_first_rank || !dynamic_cast<Reconstructor*>(setup_.objective.get())) return {};
  return {"reconstructions", reconstruction_picture(evaluated)};
}

void TrainingEvaluation::run(Trainer& trainer, const std::filesystem::path& run_folder,
                             MetricsLog* log) {
  const Evaluated evaluated{.objective = *setup_.objective,
                            .recipe = setup_.recipe,
                            .data = data_,
                            .train_data = train_data_ ? &*train_data_ : nullptr,
                            .communicator = world_.communicator(),
                            .device = device_,
                            .num_threads = world_.cores(),
                            .should_stop = [&] { return trainer.poll_stop(); }};
  const auto evaluate = [&] {
    if (train_data_ && dynamic_cast<FeatureExtractor*>(setup_.objective.get())) {
      const Figures figures = evaluate_knn(evaluated);
      if (log) log->evaluation(trainer.step(), {{"knn_accuracy", figures.at("accuracy")}});
    }
    const Picture picture = make_picture(evaluated, log != nullptr);
    if (!log || !picture.title) return;
    const auto folder = run_folder / "pictures";
    std::filesystem::create_directories(folder);
    const std::string png = encode_png(picture.pixels);
    write_file_atomically(posix_file_system(),
                          folder / fmt::format("step-{:09}.png", trainer.step()), png);
    log->picture(trainer.step(), picture.title, static_cast<int>(picture.pixels.size(1)),
                 static_cast<int>(picture.pixels.size(0)), png);
  };
  trainer.with_average_weights([&] {
    try {
      evaluate();
    } catch (const EvaluationStopped&) {  // by a signal, on all ranks at once
      log_info("the evaluation after step {} is given up for the signal", trainer.step());
    }
  });
}

}  // namespace kiln
