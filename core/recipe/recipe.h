#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/recipe/options.h"
#include "core/recipe/phase_options.h"

// The sections of a recipe that the engine itself reads. [model] and [data] hold further keys that
// belong to the chosen model (models/registry.h) and kind of data (data/options.h).

namespace kiln {

struct RunOptions {
  std::string name = "run";
  std::string dir;
  std::int64_t seed = 0;
  bool reproducible = false;
  std::string init_from;
  std::string device = "auto";
  bool cuda_graph = false;
  std::string precision = "fp32";
  std::int64_t threads = 0;
  std::vector<std::string> allow_change;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "Names the run in logs and reports.", kExecution);
    visit("dir", dir, "Run folder; default runs/NAME.", kExecution);
    visit("seed", seed, "Seed of everything random: weights, order, crops, masks, noise.",
          kIdentity);
    visit("reproducible", reproducible, "Same bits on any number of ranks (fixed order of sums).",
          kIdentity);
    visit("init_from", init_from, "Checkpoint, run or Hugging Face folder to take weights from.",
          kExecution);
    visit("device", device, "auto | cpu | cuda", kExecution);
    visit("cuda_graph", cuda_graph,
          "GPU: forward and backward are recorded once and replayed, where the model allows it.",
          kExecution);
    visit("precision", precision, "fp32 | bf16 (weights and activations; master weights stay fp32)",
          kIdentity);
    visit("threads", threads, "Compute threads per rank; 0: the rank's share of the node's cores.",
          kExecution);
    visit("allow_change", allow_change,
          "Identity keys a resume may change, e.g. [\"train.epochs\"].", kExecution);
  }
};

struct TrainOptions {
  std::optional<std::int64_t> samples;
  std::optional<std::int64_t> steps;
  std::optional<double> epochs;
  std::int64_t global_batch = 256;
  std::int64_t micro_batch = 0;
  double clip_norm = 0.0;
  std::string clip = "global";
  std::int64_t stop_after = 0;
  bool recompute = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("samples", samples, "Length of the run; give one of samples, steps, epochs.", kIdentity);
    visit("steps", steps, "Length of the run in steps.", kIdentity);
    visit("epochs", epochs, "Length of the run in passes over the dataset.", kIdentity);
    visit("global_batch", global_batch, "Samples per step, over all ranks.", kIdentity);
    visit(
        "micro_batch", micro_batch,
        "Samples per forward and backward; divides global_batch. 0: global_batch / 8, at least 1.",
        kIdentity);
    visit("clip_norm", clip_norm, "Clips the 2-norm of the gradient; 0: off.", kIdentity);
    visit("clip", clip, "global | tensor: the norm of all gradients, or of each tensor alone.",
          kIdentity);
    visit("stop_after", stop_after,
          "Saves and ends after this step (counted from 1); the schedule still spans the run. 0: "
          "off.",
          kExecution);
    visit("recompute", recompute, "Recomputes activations in backward instead of keeping them.",
          kExecution);
  }
};

struct OptimizerOptions {
  std::string name = "adamw";
  std::optional<double> lr;
  std::optional<double> base_lr;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.0;
  double momentum = 0.9;
  bool rate_in_momentum = false;
  double trust_coefficient = 0.001;
  double layer_decay = 1.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "adamw | adam | adamax | rmsprop | bert_adam | lamb | lars | larc | sgd",
          kIdentity);
    visit("lr", lr, "Peak learning rate. Give lr or base_lr.", kIdentity);
    visit("base_lr", base_lr,
          "Peak learning rate per 256 samples: lr = base_lr * global_batch / 256.", kIdentity);
    visit("betas", betas, "Decay of the moments; rmsprop takes the second.", kIdentity);
    visit("eps", eps, "Added to the root of the second moment; larc: to the norms.", kIdentity);
    visit("weight_decay", weight_decay, "Decoupled (adamw, bert_adam, lamb) or L2 (all others).",
          kIdentity);
    visit("momentum", momentum, "lars, larc and sgd.", kIdentity);
    visit("rate_in_momentum", rate_in_momentum,
          "lars, larc and sgd: the buffer adds up lr times gradient, as SimCLR has it.", kIdentity);
    visit("trust_coefficient", trust_coefficient, "lars and larc: eta of the paper.", kIdentity);
    visit("layer_decay", layer_decay, "Fine-tuning: learning rate factor per layer below the head.",
          kIdentity);
  }
};

struct ScheduleOptions {
  std::string name = "cosine";
  double warmup_samples = 0;
  std::optional<double> warmup_steps;
  std::optional<double> warmup_epochs;
  double min_lr = 0.0;
  double warmup_start = 0.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "constant | linear | linear_after_warmup | cosine", kIdentity);
    visit("warmup_samples", warmup_samples, "Linear rise to the peak.", kIdentity);
    visit("warmup_steps", warmup_steps, "The same in steps.", kIdentity);
    visit("warmup_epochs", warmup_epochs, "The same in passes over the dataset.", kIdentity);
    visit("min_lr", min_lr, "End of the cosine.", kIdentity);
    visit("warmup_start", warmup_start, "Factor of the peak at which the rise begins.", kIdentity);
  }
};

struct EmaOptions {
  double decay = 0.0;
  double half_life_samples = 0.0;
  double ramp = 0.0;
  bool warmup = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("decay", decay, "Per step; 0: no moving average.", kIdentity);
    visit("half_life_samples", half_life_samples,
          "Instead of decay: 0.5^(global_batch / half life).", kIdentity);
    visit("ramp", ramp, "Half life is at most ramp * samples seen (EDM uses 0.05); 0: off.",
          kIdentity);
    visit("warmup", warmup, "Decay of update n is at most (1 + n) / (10 + n), n from 1.",
          kIdentity);
  }
};

struct ParallelOptions {
  bool shard_optimizer = false;
  double bucket_mb = 25.0;
  double timeout_s = 600.0;
  std::string reduce_dtype = "fp32";

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("shard_optimizer", shard_optimizer,
          "Each rank keeps 1/ranks of the optimizer state (ZeRO-1).", kExecution);
    visit("bucket_mb", bucket_mb, "Gradients are exchanged in pieces of about this size.",
          kExecution);
    visit("timeout_s", timeout_s, "Longest any rank waits for another, or for data.", kExecution);
    visit("reduce_dtype", reduce_dtype, "fp32 | bf16: what gradients are sent as.", kIdentity);
  }
};

struct CheckpointOptions {
  std::int64_t every = 1000;
  std::int64_t keep = 3;
  std::int64_t keep_every = 0;
  bool async = true;
  double grace_s = 0.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("every", every, "Steps between checkpoints; 0: only at the end.", kExecution);
    visit("keep", keep, "Newest checkpoints to keep.", kExecution);
    visit("keep_every", keep_every, "Also keeps every checkpoint whose step this divides; 0: none.",
          kExecution);
    visit("async", async, "Writes in the background; the loop stalls for the snapshot only.",
          kExecution);
    visit("grace_s", grace_s,
          "Seconds from a stop signal until the ranks are killed: where another save would take "
          "longer, the newest checkpoint stands. 0: as long as it takes. kiln launch sets it.",
          kExecution);
  }
};

struct DivergenceOptions {
  std::string action = "stop";
  double loss_sigma = 0.0;
  double norm_sigma = 0.0;
  std::int64_t window = 128;
  std::int64_t limit = 10;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(
        "action", action,
        "What a step with a bad loss or gradient ends in: stop (exit status 6) | skip (no update) "
        "| rollback (to the newest checkpoint, leaving out the samples since).",
        kExecution);
    visit(
        "loss_sigma", loss_sigma,
        "A loss so many standard deviations above its moving mean is bad too; 0: not finite only.",
        kExecution);
    visit("norm_sigma", norm_sigma, "The same for the gradient's 2-norm.", kExecution);
    visit("window", window, "Steps the moving mean looks back, and the first that is judged.",
          kExecution);
    visit("limit", limit, "More bad steps without a quiet window between them end the run.",
          kExecution);
  }
};

struct EvalOptions {
  std::int64_t every = 0;
  std::string path;
  std::string train_path;
  std::int64_t max_samples = 0;
  std::int64_t train_samples = 0;
  std::int64_t pictures = 8;
  std::string pool;
  std::int64_t k = 20;
  double temperature = 0.07;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("every", every, "Steps between evaluations during training; 0: none.", kExecution);
    visit("path", path, "Dataset to evaluate on.", kExecution);
    visit("train_path", train_path, "Labelled dataset that kNN and probe learn from.", kExecution);
    visit("max_samples", max_samples, "Evaluates on the first so many samples; 0: all.",
          kExecution);
    visit("train_samples", train_samples,
          "kNN and probe learn from the first so many samples; 0: all.", kExecution);
    visit("pictures", pictures, "Samples shown in pictures.", kExecution);
    visit(
        "pool", pool,
        "Features: one of the model's poolings, e.g. mean or cls (class token); empty: its first.",
        kExecution);
    visit("k", k, "kNN: neighbours that vote.", kExecution);
    visit("temperature", temperature, "kNN: a neighbour's weight is exp(cosine / temperature).",
          kExecution);
  }
};

struct LogOptions {
  std::int64_t every = 10;
  bool ledger = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("every", every, "Steps between lines of metrics.jsonl and of the console.", kExecution);
    visit("ledger", ledger,
          "Writes down which samples, crops and masks every step saw (RUN/ledger).", kExecution);
  }
};

/// Everything but [model] and [data].
struct Recipe {
  RunOptions run;
  TrainOptions train;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  EmaOptions ema;
  ParallelOptions parallel;
  CheckpointOptions checkpoint;
  DivergenceOptions divergence;
  EvalOptions eval;
  LogOptions log;
  /// [optimizer.PHASE] and [schedule.NAME], filled in when the objective is known
  /// (read_phase_sections).
  std::map<std::string, OptimizerOverrides> phases = {};
  std::map<std::string, ValueScheduleOptions> schedules = {};
};

}  // namespace kiln
