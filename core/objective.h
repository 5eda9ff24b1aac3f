#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/recipe/phase_options.h"
#include "core/types.h"

namespace torch::nn {
class Module;
}

namespace kiln {

/// Sums over the global batch that Objective::after_step gets, added in micro-batch order.
using Sums = std::map<std::string, at::Tensor>;

/// Rows of samples by name, [R, ...], R the same for every micro-batch: what couples the samples of
/// the global batch.
using Rows = std::map<std::string, at::Tensor>;

/// A part of a step with parameters and an optimizer of its own.
struct Phase {
  std::string name;
  /// What its optimizer does differently; the recipe's [optimizer.NAME] has the last word.
  OptimizerOverrides optimizer = {};
  /// Its loss is couple() of the rows of the whole global batch, instead of a sum of loss().
  bool is_coupled = false;
  /// Whether the recipe's [ema] keeps a moving average of its parameters.
  bool has_average = true;
};

/// A second network that follows a trained one: momentum encoder, teacher, generator to sample
/// from. The engine keeps it in fp32:  average <- decay average + (1 - decay) weights,  from the
/// fp32 master weights, at the end of every step that updated the phase of any of its sources. It
/// begins as an exact copy (after initialise_from and run.init_from), is saved with the buffers as
/// "NAME/PARAMETER", and targets hold it in the model's precision, the same on all ranks.
struct Average {
  struct Pair {
    std::string name;   // of the target's parameter; unique within the average
    at::Tensor source;  // a parameter of any phase, or a tensor that never changes: then a copy
    at::Tensor target;  // same shape and type; never requires grad
  };
  std::string name;
  std::vector<Pair> pairs;
  /// Of the schedule (Objective::schedules) that gives the decay; empty: `decay`.
  std::string schedule = {};
  double decay = 0.0;
  /// The schedule is read as of the next step: for methods that move the average before their
  /// forward pass (MoCo). The copy of the first step moves nothing, so the course is the same.
  bool is_for_next_step = false;
};

/// A value that changes in the course of a run and its default course; [schedule.NAME] of the
/// recipe has the last word. StepContext::value(name) reads it; it is logged under its name.
/// "weight_decay" is applied by the engine, in place of optimizer.weight_decay, in every phase
/// without one of its own.
struct NamedSchedule {
  std::string name;
  ValueScheduleOptions options = {};
};

/// A model together with the loss that trains it. The one interface between the loop and models/.
///
/// A step, in order; what is in brackets for coupled phases:
///   for each phase that does not rest:
///     for each micro-batch: loss() and its backward pass, sums()
///       [embed(), sums(); couple() on all rows; backward pass of each micro-batch]
///     the optimizer updates the phase's parameters
///   after_step(); average networks move
/// If a phase's loss or gradient is judged bad, all of the step's updates are taken back, and
/// after_step() is not called.
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

  /// {"all"}, or {"generator", "discriminator"}. The same at every call.
  virtual std::vector<Phase> phases() const { return {Phase{.name = "all"}}; }

  /// Trainable tensors of a phase in order of execution in forward. Only these require grad in it.
  virtual std::vector<Parameter> parameters(std::size_t phase) = 0;

  /// Whether the phase does nothing in this step: asked before anything of it is run, on every
  /// rank. Coupled phases rest in no other way.
  virtual bool rests(const StepContext& context, std::size_t phase) const {
    (void)context;
    (void)phase;
    return false;
  }

  /// The loss of one micro-batch, normalised by the global denominators in batch.denominators, so
  /// that the losses of all micro-batches simply add up. Never communicates. nullopt: this phase
  /// rests in this step, which may depend on `context` alone. Not called for coupled phases.
  virtual std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                                   std::size_t phase);

  /// Coupled phases: rows of one micro-batch. Those that need a gradient carry their history; the
  /// others (keys, labels, a teacher's scores) are detached, and may be of any type. A pure
  /// function of its arguments and the weights, and called once or twice for a micro-batch, in any
  /// order of micro-batches: with the rows of all ranks at hand, the micro-batches whose graph was
  /// not kept are run again. Never communicates.
  virtual Rows embed(const Batch& batch, const StepContext& context, std::size_t phase);

  /// Coupled phases: the loss of the step from the rows of all micro-batches, [M * R, ...], in the
  /// order of their numbers. Already normalised: it is not added to anything. A pure function of
  /// its arguments and of buffers(); every rank calls it once and gets the same bits. It is
  /// differentiated with respect to the rows that had a history: weights that are used here get no
  /// gradient.
  virtual Loss couple(const Rows& all, const StepContext& context, std::size_t phase);

  /// Whether forward and backward of this phase may be recorded once on a GPU and replayed for
  /// every micro-batch of the same shapes and denominators (core/training/micro_batch_pass.h). If
  /// so: of what loss() is given, it looks at batch.tensors, batch.denominators and
  /// batch.num_samples alone; its host values, the weights of metrics among them, follow from
  /// shapes and the last two; it never rests, neither waits for the GPU nor copies from host
  /// memory, and adds nothing to sums(). Coupled phases always run plain.
  virtual bool is_recordable(std::size_t phase) const {
    (void)phase;
    return false;
  }

  /// Changed nowhere but in after_step and initialise_from; saved in checkpoints and hashed apart
  /// from weights.
  virtual std::vector<Buffer> buffers() { return {}; }

  /// Networks that follow parameters. The same names and tensors at every call.
  virtual std::vector<Average> averages() { return {}; }

  /// Values that change in the course of a run.
  virtual std::vector<NamedSchedule> schedules() const { return {}; }

  /// Whether initialise_from() is wanted.
  virtual bool is_initialised_from_data() const { return false; }
  /// Sets weights and buffers() from data, before the first step of a run that neither resumes nor
  /// takes weights from elsewhere. `batch` is micro-batch 0 of step 0; every rank gets it, and does
  /// the same thing with it; its denominators are those of the micro-batch alone. Without
  /// gradients.
  virtual void initialise_from(const Batch& batch, const StepContext& context) {
    (void)batch;
    (void)context;
  }

  /// Contributions of the micro-batch last given to loss() or embed() in this phase to the sums
  /// that after_step gets. Names differ between phases.
  virtual Sums sums(std::size_t phase) {
    (void)phase;
    return {};
  }
  /// After all phases, on every rank, with the same arguments. `sums`: of the phases that did not
  /// rest. `rows`: of the coupled ones, detached, as couple() got them: queues are written from
  /// these.
  virtual void after_step(const StepContext& context, const Sums& sums, const Rows& rows) {
    (void)context;
    (void)sums;
    (void)rows;
  }
};

/// What a checkpoint holds of an objective under "buffer/": buffers() and the targets of averages()
/// as "NAME/PARAMETER".
std::vector<Buffer> saved_buffers(Objective& objective);

}  // namespace kiln
