#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"
#include "core/types.h"

// What commands ask of an objective beyond its loss. An objective offers a capability by deriving
// from it as well; commands find out with a dynamic_cast to the capability, never to a model. What a
// method says of the state of an objective holds for all: weights are on one device, the module is
// in evaluation mode, no gradients are wanted, and nothing here communicates. Methods are called
// from one thread. "Picture" means uint8 [H, W, C].
//
// Legend: B samples, L tokens, D width, H x W pixels, C channels, E latent channels, h x w latent
// pixels, S tokens of a text, V vocabulary.

namespace kiln {

/// Figures of an evaluation by name.
using Figures = std::map<std::string, double>;

/// Representations of whole samples for kNN and probes, from all of the input: nothing is masked or
/// dropped.
class FeatureExtractor {
 public:
  virtual ~FeatureExtractor() = default;
  /// Names of the ways in which a sample's tokens become one vector, at least one; the first is
  /// taken where nobody chooses (eval.pool). Usual names: "mean", over the tokens without the class
  /// token and padding; "cls", the class token.
  virtual std::vector<std::string> poolings() const = 0;
  /// [B, D] fp32 on the device of the weights. `batch` is as read, not prepared, on that device;
  /// `pooling` is one of poolings().
  virtual at::Tensor features(const Batch& batch, const std::string& pooling) = 0;
};

/// Class scores of whole samples.
class Classifier {
 public:
  virtual ~Classifier() = default;
  /// [B, classes] fp32; the largest of a row is the answer. `batch` as for features().
  virtual at::Tensor scores(const Batch& batch) = 0;
};

/// Pictures of what a model fills in or gives back.
class Reconstructor {
 public:
  virtual ~Reconstructor() = default;
  /// Each uint8 [B, H, W, C] on the host.
  struct Pictures {
    at::Tensor original;
    at::Tensor masked;         // hidden parts grey; undefined where none are
    at::Tensor reconstructed;  // hidden parts as predicted, the others as they were
  };
  /// `batch` has been through Objective::prepare, and lies on the device of the weights.
  virtual Pictures reconstruct(const Batch& batch) = 0;
};

/// A dataset as a family's own measurements see it.
struct SampleReader {
  std::int64_t num_samples = 0;
  /// Samples [begin, end) as read, on the host; first_position is begin.
  std::function<Batch(std::int64_t begin, std::int64_t end)> read;
};

/// What a measurement is given at its start.
struct MeasurementSetup {
  SampleReader data;                         // held out: eval.path
  std::int64_t count = 0;                    // the first so many samples of `data` are measured
  const SampleReader* train_data = nullptr;  // eval.train_path; null where none is given
  std::int64_t train_count = 0;              // of that: the first so many
  std::uint64_t seed = 0;                    // run.seed: masks and noise are those of training
  at::Device device = at::kCPU;              // of the weights
};

/// Sums over held-out samples, and the figures that follow from them. The samples are handed out in
/// micro-batches of a fixed size, each to one rank; sums add up in the order of the micro-batches,
/// so that figures do not depend on the number of ranks.
class Measurement {
 public:
  virtual ~Measurement() = default;
  /// Passes over the samples: a later one may use what an earlier one found.
  virtual int num_passes() const { return 1; }
  /// Sums of a micro-batch, fp64 [n] on the host, of one n in all micro-batches of a pass. `batch`
  /// is as read, on the host, with first_position set; only its first `count` samples count, the
  /// others are copies of the last.
  virtual at::Tensor sums(int pass, Batch batch, std::int64_t count) = 0;
  /// n above, so that a rank without micro-batches knows it.
  virtual std::int64_t num_sums(int pass) const = 0;
  /// The sums over all samples, on every rank: [n].
  virtual void finish_pass(int pass, const at::Tensor& total) = 0;
  /// After the last pass. "samples" is added by the caller.
  virtual Figures figures() const = 0;
};

/// Measures itself by evaluations of its own. Their names and summaries stand in the model's row of
/// the table (ModelEntry::evaluations), so that `kiln eval NAME` and its help know them. The name
/// "reconstruct" is there for every Reconstructor: one that offers no measurement of that name gets
/// the mean squared error, PSNR and SSIM of its pictures.
class Measurable {
 public:
  virtual ~Measurable() = default;
  /// Null for an evaluation that this model does not offer. Throws Error(kUsage) where it does, but
  /// not as this model was made (a head that is missing), or for samples that do not fit.
  virtual std::unique_ptr<Measurement> measurement(const std::string& evaluation,
                                                   const MeasurementSetup& setup) = 0;
};

/// How probable held-out samples are to the model: `kiln eval likelihood`.
class Likelihood {
 public:
  virtual ~Likelihood() = default;
  struct Bits {
    /// [B] fp64: minus log2 of the probability (of discrete values) or density, or a bound of it.
    /// Undefined where the model as it was made has none.
    at::Tensor total;
    /// Named parts of it, each [B] fp64 in bits ("prior", "log_det"): figure NAME_bits_per_value.
    std::map<std::string, at::Tensor> parts;
    /// Other means over samples, each [B] fp64: figures under their own names.
    std::map<std::string, at::Tensor> others;
  };
  /// Called once, before bits().
  virtual void begin_likelihood(const MeasurementSetup& setup) { (void)setup; }
  /// `batch` is as read, on the host, with first_position set; conditions are those of the samples,
  /// none is dropped. The same names and members in every call.
  virtual Bits bits(Batch batch, std::uint64_t seed) = 0;
  /// What bits per value (bits/dim) divide by: values of a sample, H W C of a picture.
  virtual std::int64_t num_values() const = 0;
};

/// Pictures to latents and back: the first stage of what draws latents. Decodes for
/// PictureGenerator, makes the datasets of `kiln encode`.
class LatentCodec {
 public:
  virtual ~LatentCodec() = default;
  /// {E, h, w} for pictures {H, W, C}. Throws Error(kUsage) for pictures it does not take.
  virtual std::vector<std::int64_t> latent_shape(
      const std::vector<std::int64_t>& picture) const = 0;
  /// {H, W, C} for latents {E, h, w}. Throws Error(kUsage) for another number of channels.
  virtual std::vector<std::int64_t> picture_shape(
      const std::vector<std::int64_t>& latent) const = 0;
  /// uint8 [B, H, W, C] on the device of the weights -> mean and log-variance [B, 2E, h, w] of the
  /// latents there; a log-variance of -30 for latents that are certain.
  virtual at::Tensor moments(const at::Tensor& pictures) = 0;
  /// Latents [B, E, h, w] fp32, as drawn from such moments -> uint8 [B, H, W, C] on the host.
  virtual at::Tensor decode_latents(const at::Tensor& latents) = 0;
};

/// Draws pictures: `kiln sample`, `kiln eval fid`, pictures during training.
class PictureGenerator {
 public:
  virtual ~PictureGenerator() = default;

  /// What it draws by and what it needs for it.
  struct Requirements {
    std::int64_t num_classes = 0;  // pictures follow a class 0 .. num_classes - 1; 0: none
    std::int64_t text_width = 0;   // pictures follow texts, embeddings of this width; 0: none
    bool has_latents = false;      // what it draws has to be decoded by a LatentCodec:
    std::string codec;             // path of the one that the recipe names; may be empty
    std::string codec_hash;        // weights_hash it must have; empty: any
  };
  virtual Requirements requirements() const = 0;

  /// For generators with latents, before any drawing; `codec` outlives the generator's use.
  virtual void set_codec(LatentCodec* codec) { (void)codec; }

  /// Reads its options (sampler, steps, guidance, temperature, top_k ...) from section [draw] of
  /// `reader`; those that are not given get their defaults. Their names and explanations stand in
  /// the model's row of the table (ModelEntry::drawing), from where they become the options of the
  /// commands: guided_channels is --guided-channels. All randomness of draw() comes from
  /// Philox(seed, kSampling, number of the picture). Throws Error(kUsage) for what does not fit.
  virtual void configure_drawing(RecipeReader& reader, std::uint64_t seed) = 0;
  /// What the result of `kiln sample` says of the options: {"sampler": "heun", "steps": 18}.
  virtual nlohmann::json chosen_drawing() const { return nlohmann::json::object(); }

  /// {H, W, C}.
  virtual std::vector<std::int64_t> drawn_shape() const = 0;
  /// Members a generator does not take are empty.
  struct Conditions {
    std::vector<std::int64_t> classes;  // of each picture
    at::Tensor texts;                   // [count, S, text_width] fp16 on the host
  };
  /// Pictures number first .. first + count - 1: uint8 [count, H, W, C] on the host. A picture
  /// depends on its number, its conditions, seed and options; on `count` in the last bits at most,
  /// so that callers draw in batches of one size.
  virtual at::Tensor draw(std::int64_t first, std::int64_t count, const Conditions& conditions) = 0;
};

/// Pictures that a generator is held against, which no network drew: `kiln eval fid --controls`.
class ControlGenerator {
 public:
  virtual ~ControlGenerator() = default;
  /// Names; the figure is frechet_NAME.
  virtual std::vector<std::string> controls() const = 0;
  /// Learns what they need from the data trained on; `seed` is that of training.
  virtual void fit_controls(const SampleReader& data, std::uint64_t seed) = 0;
  /// As PictureGenerator::draw.
  virtual at::Tensor draw_control(const std::string& name, std::int64_t first, std::int64_t count,
                                  std::uint64_t seed) = 0;
};

/// Draws sequences of tokens one after the other.
class TokenGenerator {
 public:
  virtual ~TokenGenerator() = default;
  virtual std::int64_t num_tokens() const = 0;  // L of a drawn sequence
  virtual std::int64_t vocabulary_size() const = 0;
  /// As PictureGenerator::configure_drawing: temperature, top_k, top_p ...
  virtual void configure_drawing(RecipeReader& reader, std::uint64_t seed) = 0;
  /// Sequences number first .. first + count - 1: int64 [count, L] on the host. `prefix` int64
  /// [count, P], P < L: how each begins; undefined: with nothing. `classes` of each; may be empty.
  virtual at::Tensor draw_tokens(std::int64_t first, std::int64_t count, const at::Tensor& prefix,
                                 const std::vector<std::int64_t>& classes) = 0;
};

/// Hidden states of texts: `kiln encode` of text.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  virtual std::int64_t text_width() const = 0;       // D
  virtual std::int64_t max_text_tokens() const = 0;  // longest S, [CLS] and [SEP] included
  virtual std::string text_pooling() const = 0;      // how `embedding` is made: "pooler", "mean"
  struct EncodedText {
    at::Tensor context;    // [B, S, D], zeros behind the end of the text
    at::Tensor embedding;  // [B, D] fp32
  };
  /// `batch` holds "tokens" [B, S], "document" [B, S] (-1: padding) and "position" [1, S], int64,
  /// on the device of the weights, where the result lies.
  virtual EncodedText encode_text(const Batch& batch) = 0;
};

/// Fills gaps in texts: `kiln eval mlm --text`.
class WordPredictor {
 public:
  virtual ~WordPredictor() = default;
  /// Tokens of a text int64 [L], some of them [MASK] -> probabilities [K, V] fp32 of what stands at
  /// each of K `places`. Throws Error(kUsage) for texts that are too long, and for a model without
  /// the head.
  virtual at::Tensor word_probabilities(const at::Tensor& tokens,
                                        const std::vector<std::int64_t>& places) = 0;
};

/// Weights from which a classifier is fine-tuned: `kiln eval finetune`. The classifier is another
/// model of the table, which takes these weights by their names (run.init_from).
struct FineTuning {
  std::string name = "finetune";  // of the run and its folder
  std::string model;              // TOML of the [model] section, model.name included
  TrainOptions train;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  std::int64_t max_tokens = 0;  // of text: longest sequence; 0 where samples are no text
};
class FineTunable {
 public:
  virtual ~FineTunable() = default;
  /// As published, scaled to small datasets. `command_line` holds what the user asks for
  /// (model.probe=true): it may choose between recipes, and overrides the one chosen afterwards.
  virtual FineTuning finetuning(RecipeReader& command_line) const = 0;
};

/// A language model that is counted from a text instead of trained: `kiln eval NAME`, held against
/// models that are trained. Sentences are token ids. Counting goes in rounds (orders, say); in each,
/// every rank counts its share, all exchange what they counted, and rank 0 scores the held-out text.
class CountedModel {
 public:
  virtual ~CountedModel() = default;
  using Sentence = std::vector<std::int32_t>;
  using Sentences = std::function<void(const std::function<void(const Sentence&)>& use)>;

  virtual int num_rounds() const = 0;
  virtual void begin_round(int round, std::int64_t vocabulary_size) = 0;
  virtual void count(const Sentence& sentence) = 0;
  /// Part `index` of `parts` of this rank's counts; then all ranks' together, of the same part. A
  /// rank alone is not asked.
  virtual std::vector<std::int64_t> counts(std::int64_t index, std::int64_t parts) const = 0;
  virtual void add_counts(const std::vector<std::int64_t>& all) = 0;
  /// Adds this round's figures on held-out sentences. On rank 0 alone.
  virtual void score(const Sentences& held_out, nlohmann::json& figures) const = 0;
};

/// What one forward pass over a micro-batch costs, operator by operator: the model FLOP/s of logs
/// (mfu), `kiln bench step` and `kiln plan` come from it.
class Workload {
 public:
  virtual ~Workload() = default;
  /// Operators of one shape, of all layers together.
  struct Operator {
    std::string name;        // "blocks.qkv", "down.0.conv"
    double count = 1.0;      // how often a forward pass does it
    double flops = 0.0;      // of one: 2 a multiply-add; 0 for what is bound by memory
    double bytes = 0.0;      // of one: operands and result, each moved once
    bool is_trained = true;  // has a backward pass, which costs twice the forward one
    /// Matrix product [m, k] x [k, n] where it is one (a convolution as its product); 0: none.
    std::int64_t m = 0, n = 0, k = 0;
  };
  struct Work {
    std::int64_t num_parameters = 0;  // trainable
    std::vector<Operator> operators;  // forward
    /// Forward and backward of the whole micro-batch.
    double training_flops() const;
  };
  /// `like`: a micro-batch as the data has it, not prepared, of which the shapes alone count.
  /// WorkList (models/layers/workload.h) makes the list.
  virtual Work work(const Batch& like) = 0;
};

}  // namespace kiln
