#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/objective.h"

// The smallest objective that uses everything the engine offers for contrastive and adversarial
// families.

namespace kiln::toy {

struct CoupledOptions {
  at::ScalarType precision = at::kFloat;
  /// Keys of other micro-batches are left out, which is what must not happen.
  bool is_cut = false;
  bool has_critic = false;  // a second, plain phase, which rests in odd steps
  bool is_initialised = false;
  std::int64_t frozen_samples = 0;   // of the first bias
  std::int64_t broken_step = -1;     // the critic's loss is not finite in this step
  std::optional<double> bound = {};  // of the critic's weight
};

/// A momentum encoder, a queue, a loss over the global batch (InfoNCE, as MoCo and MoCo v3 have it):
///   q = f(x), k = f'(-x), both of unit length;  f' follows f with decay "momentum"
///   L = mean_i -log softmax_i([q_i . k_j, q_i . queue_n] / "temperature")
/// and, with a critic, a second phase with an optimizer, a rate and a bound of its own.
///
/// Batches are toy::Loader's.
class CoupledObjective final : public Objective {
 public:
  static constexpr std::int64_t kWidth = 6, kQueue = 24;
  explicit CoupledObjective(const CoupledOptions& options = {});
  ~CoupledObjective() override;

  torch::nn::Module& module() override;
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Phase> phases() const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  bool rests(const StepContext& context, std::size_t phase) const override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  Rows embed(const Batch& batch, const StepContext& context, std::size_t phase) override;
  Loss couple(const Rows& all, const StepContext& context, std::size_t phase) override;
  std::vector<Buffer> buffers() override;
  std::vector<Average> averages() override;
  std::vector<NamedSchedule> schedules() const override;
  bool is_initialised_from_data() const override { return options_.is_initialised; }
  void initialise_from(const Batch& batch, const StepContext& context) override;
  Sums sums(std::size_t phase) override;
  void after_step(const StepContext& context, const Sums& sums, const Rows& rows) override;

  /// f(x) or f'(x), [B, kWidth].
  at::Tensor encode(const at::Tensor& x, bool is_average) const;
  at::Tensor queue() const { return queue_; }

  std::int64_t num_embedded = 0;     // calls of embed()
  std::int64_t num_initialised = 0;  // calls of initialise_from()

 private:
  struct Network;
  CoupledOptions options_;
  std::shared_ptr<Network> network_;
  at::Tensor queue_;    // [kQueue, kWidth] fp32
  at::Tensor pointer_;  // [1] int64
  at::Tensor mean_;     // [kWidth] fp64: mean of the queries of the last step
  at::Tensor score_;    // [1] fp64: sum of the critic's scores when it last took part
  Sums sums_;           // of the last micro-batch
};

}  // namespace kiln::toy
