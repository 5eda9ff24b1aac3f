#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/batch_norm.h"
#include "models/layers/linear.h"

// B samples, D width.

namespace kiln {

/// A linear layer, and what may follow it in a head: batch norm, then an activation.
struct HeadLayer {
  std::int64_t width = 0;
  bool has_bias = true;
  bool has_norm = false;
  bool has_norm_scale = true;
  bool has_norm_shift = true;
  enum class Activation { kNone, kRelu, kGelu } activation = Activation::kNone;
};

/// Projection or prediction head: an MLP [B, D] -> [B, width of the last layer] in at least fp32.
/// Names of parameters are the positions in the list of layers, norms and activations ("0.weight",
/// "1.weight" of the norm, "3.weight"), as the published checkpoints have them.
struct MlpHead : torch::nn::Module {
  MlpHead(std::int64_t in, const std::vector<HeadLayer>& layers, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, BatchNormMode mode) const;
  std::int64_t width() const { return layers_.back().width; }

 private:
  std::vector<HeadLayer> layers_;
  std::vector<std::shared_ptr<Linear>> linears_;
  std::vector<std::shared_ptr<BatchNorm>> norms_;  // null where a layer has none
};

/// `count` layers of `hidden` and a last one of `out`, without bias, each but the last with batch
/// norm and ReLU: the heads of SimCLR, MoCo v3, BYOL and MoBY, which differ in the last norm.
enum class LastNorm { kNone, kPlain, kScale, kScaleAndShift };
std::vector<HeadLayer> normed_head(std::int64_t count, std::int64_t hidden, std::int64_t out,
                                   LastNorm last);

/// How the weights of linear layers start.
enum class HeadInit {
  kUniform,    // weights and biases uniform on +-1 / sqrt(in): PyTorch's
  kTruncated,  // N(0, 0.02) cut off at two deviations, biases 0: DINO's
  kNormal      // N(0, 0.01), biases 0: the TensorFlow SimCLR's
};
/// Norms start with scale 1 and shift 0. `first` numbers the first parameter; the number after the
/// last one is returned.
std::size_t initialise_head(const torch::nn::Module& head, HeadInit init, std::uint64_t seed,
                            std::size_t first);

}  // namespace kiln
