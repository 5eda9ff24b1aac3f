#pragma once

#include <c10/core/Device.h>

#include <optional>

#include "core/metrics_log.h"
#include "core/trainer.h"
#include "launch/training_setup.h"
#include "launch/world.h"

namespace kiln {

/// What happens every eval.every steps: accuracy of k nearest neighbours on the features, where
/// eval.train_path names labelled images, and a picture of reconstructions in RUN/pictures. With
/// the moving average where the recipe keeps one.
class TrainingEvaluation {
 public:
  /// `setup` and `world` must outlive it.
  TrainingEvaluation(TrainingSetup& setup, World& world, at::Device device);
  /// Collective. `log`: rank 0's; null on the others.
  void run(Trainer& trainer, const std::filesystem::path& run_folder, MetricsLog* log);

 private:
  TrainingSetup& setup_;
  World& world_;
  at::Device device_;
  OpenedData data_;
  std::optional<OpenedData> train_data_;
};

}  // namespace kiln
