#pragma once

#include <cstdint>
#include <vector>

#include "core/torch.h"
#include "core/types.h"
#include "models/layers/workload.h"
#include "models/operators/dropout.h"

namespace kiln {

/// Conditions on a sample: its class, a text. Members that a network does not use are undefined.
struct Conditioning {
  at::Tensor labels;   // [B] int64: 0 .. num_classes - 1, num_classes for "no class"
  at::Tensor context;  // [B, S, E] tokens, of a text say
};

/// F of models/diffusion/: what objective and samplers need of a U-Net or transformer.
struct DiffusionNetwork : torch::nn::Module {
  /// Measures of a forward pass.
  struct Measures {
    std::int64_t samples = 0, height = 0, width = 0, context_tokens = 0;
  };

  /// x [B, C, H, W] at the noise levels that network times [B] tell of -> [B, C, H, W], or twice as
  /// many channels with a learned variance.
  virtual at::Tensor forward(const at::Tensor& x, const at::Tensor& times,
                             const Conditioning& conditioning, DropoutStream& drop) const = 0;
  /// In order of execution.
  virtual std::vector<Parameter> trainable() const = 0;
  /// First values, from Philox(seed, kInit, number in trainable()).
  virtual void initialise(std::uint64_t seed) = 0;
  /// Adds a forward pass of these measures.
  virtual void add_work(WorkList& list, const Measures& measures) const = 0;
};

/// Linear, SiLU, Linear on the sinusoidal embedding of network times.
/// The embedding is formed in double; `is_sine_first` swaps its halves.
struct TimeEmbeddingOptions {
  std::int64_t frequencies = 256;  // width of the sinusoidal embedding
  double freq_shift = 0.0;         // 0: LDM, ADM, DiT; 1: DDPM, and diffusers' DiT
  bool is_sine_first = false;      // DDPM
};
at::Tensor time_frequencies(const at::Tensor& times, const TimeEmbeddingOptions& options,
                            at::ScalarType type);

}  // namespace kiln
