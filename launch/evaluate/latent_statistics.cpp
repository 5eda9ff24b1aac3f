#include "launch/evaluate/latent_statistics.h"

#include <algorithm>

#include "core/torch.h"

namespace kiln {

FeatureStatistics latent_statistics(const LatentDiffusion& model, const DatasetReader& reader,
                                    std::int64_t count, std::uint64_t seed) {
  constexpr std::int64_t kAtATime = 1024;
  const at::NoGradGuard no_grad;
  const auto shape = model.sample_shape();
  FeatureStatistics statistics(shape[0] * shape[1] * shape[2]);
  for (std::int64_t begin = 0; begin < count; begin += kAtATime) {
    Batch batch = reader.read(begin, std::min(begin + kAtATime, count));
    batch.first_position = begin;
    model.prepare(batch, seed);
    statistics.add(model.clean(batch).flatten(1));
  }
  return statistics;
}

}  // namespace kiln
