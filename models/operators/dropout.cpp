#include "models/operators/dropout.h"

#include "core/base/error.h"
#include "core/device/in_parallel.h"
#include "core/torch.h"
#include "models/kernels/device/device_loops.h"
#include "models/operators/host_tensors.h"

namespace kiln {
namespace {

// Sites of one pass draw from disjoint ranges of the stream's blocks.
constexpr std::uint64_t kBlocksPerSite = std::uint64_t{1} << 40;
constexpr std::int64_t kGrain = 16'384;  // elements per task

}  // namespace

at::Tensor DropoutStream::dropout(const at::Tensor& x, double p) {
  if (!is_active_ || p == 0.0) return x;
  return x * keep_factors(*site(p), x.sizes(), x.options());
}

std::optional<DropoutSite> DropoutStream::site(double p) {
  if (!is_active_ || p == 0.0) return std::nullopt;
  KILN_CHECK(p > 0.0 && p < 1.0, "dropout probability {}", p);
  return DropoutSite{stream_, site_++ * kBlocksPerSite, static_cast<float>(p),
                     static_cast<float>(1.0 / (1.0 - p))};
}

at::Tensor DropoutStream::drop_path(const at::Tensor& x, double p) {
  if (!is_active_ || p == 0.0) return x;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  return x * keep_factors(*site(p), shape, x.options());
}

at::Tensor keep_factors(const DropoutSite& here, at::IntArrayRef shape,
                        const at::TensorOptions& options) {
  if (const at::Tensor there = at::empty(shape, options); runs_in_device_loops(there)) {
    with_host_type(there, [&](auto zero) {
      using T = decltype(zero);
      device_keep_factors<T>(here, host_data<T>(there), there.numel(), device_stream(there));
    });
    return there;
  }
  const at::Tensor factors = at::empty(shape, at::kFloat);
  float* out = factors.data_ptr<float>();
  in_parallel(factors.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    here.fill(begin, end - begin, out + begin);
  });
  return factors.to(options);
}

}  // namespace kiln
