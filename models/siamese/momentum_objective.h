#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/siamese/view_objective.h"

// B pictures of a micro-batch, D width of the projections, G groups.

namespace kiln {

/// What the methods with a momentum encoder differ in, beyond their losses.
struct MomentumShape {
  BackboneShape backbone;
  std::vector<HeadLayer> projector;
  std::vector<HeadLayer> predictor;  // of the trained network alone; empty: none
  /// Both views are queries and keys; else view 0 is the query, view 1 the key.
  bool is_symmetric = false;
  /// Without is_symmetric: batch norm takes its statistics of so many groups of a micro-batch, and
  /// the keys come in another order than the queries, so that a query and its key were not
  /// normalised together (shuffled batch norm, MoCo, arXiv:1911.05722, section 3.3).
  std::int64_t num_groups = 1;
  double momentum = 0.99;
  double last_momentum = 0.99;  // at the end of the run, by a half cosine
  bool has_zero_last_gamma = true;
  /// The patch projection stays as it was drawn, positions are sin-cos, rows first, and matrices
  /// start as MoCo v3's (arXiv:2104.02057, section 4).
  bool has_frozen_patches = false;
  /// Weight decay on biases and norms as well.
  bool has_decay_everywhere = false;
};

/// A trained network and a second one that follows it and makes the keys:
///   q = predictor(head(backbone(view))),  k = the same of the moving average, without predictor
///
/// The average moves after the step, by the momentum of the next one, which is the course of
/// methods that move it before their forward pass. Its batch norms keep statistics of their own.
class MomentumObjective : public ViewObjective {
 public:
  MomentumObjective(const MomentumShape& shape, PixelNormalisation pixels,
                    const at::TensorOptions& options);
  virtual void initialise(std::uint64_t seed);

  torch::nn::Module& module() override { return *network_; }
  /// Adds "shuffle" [B]: in which order the keys are normalised. From Philox(seed, kPairs, position
  /// of the first sample).
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  /// Of unit length, [B, D]: "q.V" of the query views V, "k.V" of the key views, without gradient.
  Rows embed(const Batch& batch, const StepContext& context, std::size_t phase) override;
  std::vector<Buffer> buffers() override;
  std::vector<Average> averages() override;
  std::vector<NamedSchedule> schedules() const override;
  Sums sums(std::size_t) override { return norms_.sums(); }
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;

 protected:
  const Backbone& backbone() const override { return network_->backbone; }
  const MomentumShape& shape() const { return shape_; }
  /// Width of the projections.
  std::int64_t width() const { return network_->head->width(); }

 private:
  struct Network : ViewEncoder {
    Network(const MomentumShape& shape, const at::TensorOptions& options);
    std::shared_ptr<MlpHead> predictor;  // null: none
    std::shared_ptr<ViewEncoder> momentum;
  };
  void freeze_patches(std::uint64_t seed);
  at::Tensor query(const at::Tensor& images, DropoutStream& drop) const;
  at::Tensor key(const at::Tensor& images) const;

  MomentumShape shape_;
  std::shared_ptr<Network> network_;
  BatchNorms norms_;
};

/// Keys of earlier batches: [K, D] of unit length and where the next ones go. State of an objective
/// that it changes in after_step alone: buffers NAME and NAME_ptr of `owner`.
class KeyQueue {
 public:
  KeyQueue(torch::nn::Module& owner, const std::string& name, std::int64_t length,
           std::int64_t width, const at::TensorOptions& options);
  /// Random unit vectors, from parameter number `index` of the seed.
  void initialise(std::uint64_t seed, std::size_t index);
  const at::Tensor& keys() const { return keys_; }
  void push(const at::Tensor& keys);  // [N, D]; K is a multiple of N

 private:
  at::Tensor keys_, pointer_;
};

/// What is wrong with a queue of so many keys.
std::vector<std::string> queue_problems(std::int64_t length, std::int64_t global_batch);

}  // namespace kiln
