#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"

namespace torch::nn {
class Module;
}

namespace kiln {

/// Sums over the global batch that Objective::after_step gets, added in micro-batch order.
using Sums = std::map<std::string, at::Tensor>;

/// A model together with the loss that trains it. The one interface between the loop and models/.
///
/// Thread safety: prepare() is called from reader threads, concurrently, and must not touch the
/// network; everything else from the loop's thread.
class Objective {
 public:
  virtual ~Objective() = default;

  virtual torch::nn::Module& module() = 0;

  /// Throws Error(kUsage) for data that this model cannot be trained on: labels or texts that are
  /// missing, of another width. `sample`: a batch of one as the data has it, its values unset;
  /// `path` stands for the data in messages.
  virtual void check(const Batch& sample, const std::string& path) const {
    (void)sample;
    (void)path;
  }

  /// Adds to a host batch whatever the positions of its samples determine, masks, noise, timesteps,
  /// and the share of each denominator (Batch::denominators). A pure function of (batch, seed).
  virtual void prepare(Batch& batch, std::uint64_t seed) const = 0;

  /// Parts of a step that have an optimizer each: {"all"}, or {"generator", "discriminator"}.
  virtual std::vector<std::string> phases() const { return {"all"}; }

  /// Trainable tensors of a phase in order of execution in forward. Only these require grad in it.
  virtual std::vector<Parameter> parameters(std::size_t phase) = 0;

  /// The loss of one micro-batch, normalised by the global denominators in batch.denominators, so that
  /// the losses of all micro-batches simply add up. Never communicates. nullopt: this phase rests
  /// in this step, which may depend on `context` alone.
  virtual std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                                   std::size_t phase) = 0;

  /// Whether forward and backward of this phase may be recorded once on a GPU and replayed for
  /// every micro-batch of the same shapes and denominators (core/training/micro_batch_pass.h). If
  /// so: of what loss() is given, it looks at batch.tensors, batch.denominators and batch.num_samples
  /// alone; its host values, the weights of metrics among them, follow from shapes and the last
  /// two; it never rests, neither waits for the GPU nor copies from host memory, and adds nothing
  /// to sums().
  virtual bool is_recordable(std::size_t phase) const {
    (void)phase;
    return false;
  }

  /// Changed nowhere but in after_step; saved in checkpoints and hashed apart from weights.
  virtual std::vector<Buffer> buffers() { return {}; }

  /// Contributions of the micro-batch last given to loss() to the sums that after_step gets.
  virtual Sums sums() { return {}; }
  virtual void after_step(const StepContext& context, const Sums& sums) {
    (void)context;
    (void)sums;
  }
};

}  // namespace kiln
