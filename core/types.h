#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

// The nouns that data, models and dist share. The only core header that plain sources may use to
// see LibTorch; it pulls in nothing but at::Tensor.

namespace kiln {

/// One numbered micro-batch: what a reader thread hands to Objective::loss.
///
/// Legend used in all shape comments: B samples, C channels, H height, W width, L tokens, D width.
struct Batch {
  /// Tensors by name: "image" [B, C, H, W], "label" [B], "tokens" [B, L], "noise" ...
  /// They start on the host; Trainer moves them to the device.
  std::map<std::string, at::Tensor> tensors;
  /// Position of the first sample; sample b of the batch has position first_position + b.
  std::int64_t first_position = 0;
  /// Number of this micro-batch in its step, 0 .. M-1 over all ranks.
  std::int64_t micro_batch = 0;
  /// B. Every micro-batch of a recipe has the same.
  std::int64_t num_samples = 0;
  /// Denominators of the loss's terms. As made by Objective::prepare: the share of this
  /// micro-batch. As seen by Objective::loss: the sum over the global batch. Exact integers.
  std::map<std::string, double> denominators;

  const at::Tensor& at(const std::string& name) const;
};

/// A mean over the global batch, kept as numerator and denominator until all ranks' are added.
struct Metric {
  double sum = 0.0;
  double weight = 0.0;
};
using Metrics = std::map<std::string, Metric>;

struct Loss {
  /// fp32 scalar, already divided by the global denominators: micro-batch losses simply add up.
  at::Tensor value;
  /// Host values for the log, shares of this micro-batch. Tensors, so that a GPU need not be waited
  /// for.
  std::map<std::string, std::pair<at::Tensor, double>> metrics;
};

/// What the loop knows about the step it is in. Equal on all ranks.
struct StepContext {
  std::int64_t step = 0;          // 0 for the first
  std::int64_t samples_seen = 0;  // before this step
  std::int64_t total_samples = 0;
  std::int64_t global_batch = 0;
  std::uint64_t seed = 0;
  bool is_training = true;
  /// Schedules of values (Objective::schedules) at samples_seen.
  std::map<std::string, double> values = {};

  /// One of them. A name that neither objective nor recipe gave is a bug.
  double value(const std::string& name) const;
};

/// A trainable tensor as the optimizer sees it.
struct Parameter {
  std::string name;       // unique in the model, as in our checkpoints
  at::Tensor tensor;      // leaf; FlatParameters re-points its storage
  bool has_decay = true;  // weight decay (and LAMB/LARS trust ratio) applies
  double lr_scale = 1.0;  // layer-wise decay and the like
  /// Every element is brought back to [-bound, bound] after each update (WGAN); nothing: no bound.
  std::optional<double> bound = std::nullopt;
  /// Until so many samples have been seen: no update, no decay, no moments, and the optimizer's
  /// count of its updates begins then. Its gradient counts in the norm all the same.
  std::int64_t frozen_samples = 0;
};

/// Non-trainable state of a model: statistics, codebook usage, queues. Saved; no part of
/// weights_hash.
struct Buffer {
  std::string name;
  at::Tensor tensor;
};

enum class Precision { kFloat32, kBFloat16 };

}  // namespace kiln
