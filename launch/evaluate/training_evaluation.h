#pragma once

#include <c10/core/Device.h>

#include <optional>

#include "core/report/metrics_log.h"
#include "core/training/trainer.h"
#include "launch/evaluate/evaluations.h"
#include "launch/generate/picture_maker.h"
#include "launch/run/training_setup.h"
#include "launch/run/world.h"

namespace kiln {

/// What happens every eval.every steps: accuracy of k nearest neighbours on the features, where
/// eval.train_path names labelled images, and a picture in RUN/pictures: reconstructions, or what a
/// generator draws (the same eval.pictures samples each time, so that they can be watched as
/// they clear up, of texts those of the first samples; of latents only where the recipe
/// names what decodes them). With the moving average
/// where the recipe keeps one.
class TrainingEvaluation {
 public:
  /// `setup` and `world` must outlive it.
  TrainingEvaluation(TrainingSetup& setup, World& world, at::Device device);
  /// Collective. `log`: rank 0's; null on the others.
  void run(Trainer& trainer, const std::filesystem::path& run_folder, MetricsLog* log);

 private:
  void open_picture_maker();
  /// Null where there is nothing to show.
  struct Picture {
    const char* title = nullptr;
    at::Tensor pixels;  // uint8 [H, W, C]
  };
  Picture make_picture(const Evaluated& evaluated, bool is_first_rank);
  TrainingSetup& setup_;
  World& world_;
  at::Device device_;
  OpenedData data_;
  std::optional<OpenedData> train_data_;
  std::optional<PictureMaker> maker_;  // of a generator
};

}  // namespace kiln
