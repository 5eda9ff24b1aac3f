#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/objective.h"
#include "core/torch.h"
#include "core/types.h"

// B samples, C channels, H x W pixels.

namespace kiln {

enum class BatchNormMode { kTraining, kEvaluation };

/// What a batch norm has besides its scale and shift.
struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // of the running statistics
  bool has_scale = true;
  bool has_shift = true;
};

/// Batch norm (Ioffe and Szegedy, arXiv:1502.03167), statistics in fp32 whatever the type of x.
///
/// In training it normalises by the biased variance over the samples and pixels it is given: those
/// of a micro-batch, whose size the recipe decides and no number of ranks changes. The running
/// statistics, which evaluation normalises by, do not move in forward(): it notes what it saw, and
/// BatchNorms moves them once a step.
struct BatchNorm : torch::nn::Module {
  BatchNorm(std::int64_t channels, const at::TensorOptions& options,
            const BatchNormOptions& choice = {});
  /// [B, C, H, W] or [B, C] -> the same. Throws Error(kUsage) for one value a channel in training.
  at::Tensor forward(const at::Tensor& x, BatchNormMode mode);
  /// With statistics of their own for the samples [g B / G, (g + 1) B / G) of each group g: of a
  /// permuted batch, MoCo's shuffled batch norm (arXiv:1911.05722, section 3.3). One pass, by the
  /// mean over groups of their means and variances.
  at::Tensor forward_groups(const at::Tensor& x, BatchNormMode mode, std::int64_t groups);
  /// relu(forward(x) + added); `added` as x, or undefined.
  at::Tensor forward_relu(const at::Tensor& x, BatchNormMode mode, const at::Tensor& added = {});

  BatchNormOptions choice;
  at::Tensor weight, bias;               // [C]; undefined where there is none
  at::Tensor running_mean, running_var;  // [C], fp32 (fp64 of fp64); the variance unbiased
  at::Tensor num_batches_tracked;        // int64: updates of the running statistics

  /// [2, C] for every training pass since BatchNorms::begin(): mean and unbiased variance.
  std::vector<at::Tensor> seen;

 private:
  at::Tensor normalised(const at::Tensor& x, BatchNormMode mode, bool has_relu,
                        const at::Tensor& added);
};

/// All batch norms of a network, whose running statistics an objective moves.
///
/// Of the micro-batches of a step the mean of their means and unbiased variances counts, added up
/// in their order: the same bits on any number of ranks. A network that sees a micro-batch in
/// several passes (views) moves once for each, in their order.
class BatchNorms {
 public:
  /// Those of `network`, which must outlive it. `passes`: training passes of a micro-batch.
  explicit BatchNorms(torch::nn::Module& network, std::size_t passes = 1);

  /// Before the first pass of a micro-batch. A pass that is done again (recomputed) comes after
  /// sums() and counts no more.
  void begin();
  /// Objective::sums(): what the passes since begin() saw, NAME.0, NAME.1, ...; zeros before the
  /// first of them.
  Sums sums(const std::string& name = "batch_norm") const;
  /// Objective::after_step().
  void move(const Sums& sums, const std::string& name = "batch_norm");

 private:
  std::vector<std::shared_ptr<BatchNorm>> layers_;
  std::size_t passes_;
};

/// Running statistics, as Objective::buffers() names them: PREFIX.NAME.
std::vector<Buffer> running_statistics(const torch::nn::Module& network,
                                       const std::string& prefix = {});

}  // namespace kiln
