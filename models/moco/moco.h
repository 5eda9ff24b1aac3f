#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "models/siamese/momentum_objective.h"

// N pictures of the global batch, K keys of the queue, T temperature.

namespace kiln {

/// MoCo v1 and v2 (He et al., arXiv:1911.05722; Chen et al., arXiv:2003.04297), equation 1:
///   L = mean over i of -log softmax([q_i . k_i, q_i . queue_1 ... q_i . queue_K] / T)[0]
/// with the queue as before this step, whose keys it then takes in.
class MocoQueueObjective final : public MomentumObjective {
 public:
  MocoQueueObjective(const MomentumShape& shape, std::int64_t queue, double temperature,
                     PixelNormalisation pixels, const at::TensorOptions& options);
  void initialise(std::uint64_t seed) override;
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;

 private:
  double temperature_;
  KeyQueue queue_;
};

/// MoCo v3 (Chen et al., arXiv:2104.02057), algorithm 1:
///   L = ctr(q of view 0, k of view 1) + ctr(q of view 1, k of view 0)
///   ctr(q, k) = 2 T mean over i of -log softmax(q_i . k_1 / T ... q_i . k_N / T)[i]
class MocoBatchObjective final : public MomentumObjective {
 public:
  MocoBatchObjective(const MomentumShape& shape, double temperature, PixelNormalisation pixels,
                     const at::TensorOptions& options);
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;

 private:
  double temperature_;
};

/// [model] of a recipe with model.name = "moco".
struct MocoOptions : BackboneOptions {
  std::string name = "moco";
  std::int64_t version = 3;
  std::optional<double> temperature, momentum;
  std::optional<std::int64_t> hidden, out, queue;
  std::int64_t batch_norm_groups = 2;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit(
        "version", version,
        "1, 2: a queue of keys, shuffled batch norm, a head of one or two layers | 3: keys of the "
        "batch, both views, a predictor.",
        kIdentity);
    BackboneOptions::describe(visit);
    visit("temperature", temperature,
          "Divides the cosines; default 0.07, 0.2; 3: 0.2, with a resnet 1.", kIdentity);
    visit("momentum", momentum,
          "Of the key network; default 0.999; 3: 0.99, with a resnet 0.996, rising to 1 by a half "
          "cosine.",
          kIdentity);
    visit("hidden", hidden, "Hidden width of the heads; default: the backbone's width; 3: 4096.",
          kIdentity);
    visit("out", out, "Width of the projections; default 128; 3: 256.", kIdentity);
    visit("queue", queue, "1, 2: keys of earlier batches; default 65536.", kIdentity);
    visit("batch_norm_groups", batch_norm_groups,
          "1, 2: groups of a micro-batch that batch norm takes its statistics of, so that keys can "
          "be shuffled between them.",
          kIdentity);
  }
  /// Fills what the version implies; adds to `problems` what is wrong.
  void resolve(const DatasetInfo& data, const Recipe& recipe, std::vector<std::string>& problems);
  /// After resolve() without problems.
  MomentumShape momentum_shape(const DatasetInfo& data) const;
};

/// Row of the table of models.
std::unique_ptr<Objective> make_moco(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);

}  // namespace kiln
