#include "models/layers/dropout.h"

#include <torch/torch.h>

#include "core/error.h"

namespace kiln {
namespace {

// Sites of one pass draw from disjoint ranges of the stream's blocks.
constexpr std::uint64_t kBlocksPerSite = std::uint64_t{1} << 40;
constexpr std::int64_t kGrain = 16'384;  // elements per task; a multiple of the 4 words of a block

}  // namespace

at::Tensor DropoutStream::dropout(const at::Tensor& x, double p) {
  if (!is_active_ || p == 0.0) return x;
  return x * keep_factors(x.sizes(), p, x.options());
}

at::Tensor DropoutStream::drop_path(const at::Tensor& x, double p) {
  if (!is_active_ || p == 0.0) return x;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  return x * keep_factors(shape, p, x.options());
}

at::Tensor DropoutStream::keep_factors(at::IntArrayRef shape, double p,
                                       const at::TensorOptions& options) {
  KILN_CHECK(p > 0.0 && p < 1.0, "dropout probability {}", p);
  const at::Tensor factors = at::empty(shape, at::kFloat);
  float* out = factors.data_ptr<float>();
  const std::int64_t count = factors.numel();
  const auto threshold = static_cast<float>(p);
  const auto scale = static_cast<float>(1.0 / (1.0 - p));
  const std::uint64_t first_block = site_++ * kBlocksPerSite;
  const Philox stream = stream_;
  at::parallel_for(0, (count + 3) / 4, kGrain / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const auto words = stream.block(first_block + static_cast<std::uint64_t>(block));
      const std::int64_t last = std::min<std::int64_t>(4, count - 4 * block);
      for (std::int64_t j = 0; j < last; ++j) {
        out[4 * block + j] =
            Philox::to_unit(words[static_cast<std::size_t>(j)]) < threshold ? 0.0f : scale;
      }
    }
  });
  return factors.to(options);
}

}  // namespace kiln
