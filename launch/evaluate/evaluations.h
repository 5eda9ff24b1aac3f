#pragma once

#include <c10/core/Device.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "core/communicator.h"
#include "core/objective.h"
#include "core/recipe/recipe.h"
#include "launch/run/training_setup.h"
#include "models/capabilities.h"

// What `kiln eval` computes, and training with eval.every. All are collective, give the same
// figures on every rank, and do not depend on the number of ranks.

namespace kiln {

struct Evaluated {
  Objective& objective;
  const Recipe& recipe;
  const OpenedData& data;        // eval.path
  const OpenedData* train_data;  // eval.train_path; null where an evaluation needs none
  Communicator& communicator;    // for host tensors
  at::Device device;
  std::int64_t num_threads = 1;  // that read
  /// Collective; true: EvaluationStopped is thrown on all ranks. None: nothing stops it.
  std::function<bool()> should_stop = {};
};

/// min(`most`, `all`); 0: all.
std::int64_t first_samples(std::int64_t all, std::int64_t most);
/// Of eval.path: the first eval.max_samples.
std::int64_t evaluated_samples(const Evaluated& evaluated);

/// "accuracy" of the k nearest labelled samples' vote.
Figures evaluate_knn(const Evaluated& evaluated);

/// "accuracy" and "train_accuracy" of a linear classifier on the frozen features.
Figures evaluate_linear(const Evaluated& evaluated);

/// "accuracy" of an objective that classifies.
Figures evaluate_classifier(const Evaluated& evaluated);

/// Means of what a Likelihood says of the first eval.max_samples (0: all) samples: "bits_per_value"
/// where it has bits, NAME_bits_per_value of their parts, and whatever else it measures.
Figures evaluate_likelihood(const Evaluated& evaluated);

/// How well pictures are filled in or given back: the model's own measurement "reconstruct", else
/// "mse", "psnr" and "ssim" of what it reconstructs, in [0, 1].
Figures evaluate_reconstruction(const Evaluated& evaluated);

/// Originals, masked (where parts are hidden) and reconstructed, one row each, of the first
/// eval.pictures samples: uint8 [H, W, C]. Every rank may call it alone.
at::Tensor reconstruction_picture(const Evaluated& evaluated);

}  // namespace kiln
