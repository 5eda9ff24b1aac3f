#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/base/work.h"
#include "core/dataset_info.h"
#include "core/objective.h"

namespace kiln {

/// Weights by our names, wherever they come from: a checkpoint's folder, a run's (its newest valid
/// checkpoint) or a Hugging Face folder.
class TrainedWeights {
 public:
  /// Throws Error(kCheckpoint) when there is nothing to read at `path`.
  static TrainedWeights open(const std::filesystem::path& path);
  /// Those of an objective in memory, which is not kept.
  static TrainedWeights of(Objective& objective, const std::string& name);
  ~TrainedWeights();
  TrainedWeights(TrainedWeights&&) noexcept;
  TrainedWeights& operator=(TrainedWeights&&) noexcept;

  bool contains(const std::string& name) const;
  /// 1-D, fp32, on the host.
  at::Tensor read(const std::string& name, Range elements) const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  /// "step-000000100" or the folder's name.
  const std::string& name() const { return name_; }
  /// Of the text these weights were trained on; empty where unknown.
  std::string tokenizer_hash() const;
  /// Training step; 0 where unknown.
  std::int64_t step() const { return step_; }

 private:
  struct Impl;
  TrainedWeights();
  std::unique_ptr<Impl> impl_;
  std::string name_;
  std::int64_t step_ = 0;
};

/// Throws Error(kData) when `data` is text whose ids come from another tokenizer than these weights
/// were trained with: they would mean other words.
void check_tokenizer(const TrainedWeights& source, const DatasetInfo& data);

/// For Trainer::load_weights: reads from `source`, and where it lacks a tensor or has it in another
/// shape (a new head), keeps the objective's initial values and says so. Buffers that are weights
/// of `source` (a frozen encoder) are copied at once. Throws Error(kCheckpoint) when not one tensor
/// fits.
std::function<at::Tensor(const std::string&, Range)> weights_or_initial(
    std::shared_ptr<const TrainedWeights> source, Objective& objective);

/// Copies weights and buffers into the objective: the moving average where the source has one and
/// `prefer_average`. Throws Error(kCheckpoint) naming the tensors that are missing.
void load_objective(const TrainedWeights& source, Objective& objective, bool prefer_average);

}  // namespace kiln
