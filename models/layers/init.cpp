#include "models/layers/init.h"

#include <cmath>

#include "core/device/in_parallel.h"
#include "core/torch.h"

namespace kiln {
namespace {

// Fills on the host, in parallel (element i depends on i alone), then copies to type and device.
template <typename Fill>
void fill_on_host(at::Tensor& tensor, const Fill& fill) {
  if (tensor.is_meta()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor host = at::empty(tensor.sizes(), at::kFloat);
  float* out = host.data_ptr<float>();
  const std::int64_t count = host.numel();
  constexpr std::int64_t kGrain = 16'384;
  in_parallel((count + 3) / 4, kGrain / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      fill(block, out + 4 * block, std::min<std::int64_t>(4, count - 4 * block));
    }
  });
  tensor.copy_(host);
}

}  // namespace

void fill_uniform(at::Tensor& tensor, double bound, const Philox& stream) {
  const auto width = static_cast<float>(2 * bound);
  fill_on_host(tensor, [&](std::int64_t block, float* out, std::int64_t count) {
    const auto words = stream.block(static_cast<std::uint64_t>(block));
    for (std::int64_t j = 0; j < count; ++j) {
      out[j] = (Philox::to_unit(words[static_cast<std::size_t>(j)]) - 0.5f) * width;
    }
  });
}

void fill_xavier_uniform(at::Tensor& tensor, const Philox& stream) {
  const auto fan_out = static_cast<double>(tensor.size(0));
  const auto fan_in = static_cast<double>(tensor.numel()) / fan_out;
  fill_uniform(tensor, std::sqrt(6.0 / (fan_in + fan_out)), stream);
}

void fill_normal(at::Tensor& tensor, double std, const Philox& stream) {
  if (tensor.is_meta()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor host = at::empty(tensor.sizes(), at::kFloat);
  fill_normal(stream, host.data_ptr<float>(), host.numel());
  tensor.copy_(host.mul_(std));
}

void fill_truncated_normal(at::Tensor& tensor, double std, const Philox& stream) {
  if (tensor.is_meta()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor unit = at::empty(tensor.sizes(), at::kFloat);
  fill_uniform(stream, unit.data_ptr<float>(), unit.numel());
  // Inverse of the distribution function: uniform numbers between those of -2 and +2 deviations.
  const double inside = std::erf(std::sqrt(2.0));
  const at::Tensor centred = (unit.to(at::kDouble) * 2.0 - 1.0) * inside;
  tensor.copy_(centred.erfinv_().mul_(std * std::sqrt(2.0)).clamp_(-2 * std, 2 * std));
}

}  // namespace kiln
