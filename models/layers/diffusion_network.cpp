#include "models/layers/diffusion_network.h"

#include "models/layers/positions.h"

namespace kiln {

at::Tensor time_frequencies(const at::Tensor& times, const TimeEmbeddingOptions& options,
                            at::ScalarType type) {
  at::Tensor embedding = timestep_embedding(times, options.frequencies, options.freq_shift);
  if (options.is_sine_first) {
    const auto halves = embedding.chunk(2, 1);
    embedding = at::cat({halves[1], halves[0]}, 1);
  }
  return embedding.to(type);
}

}  // namespace kiln
