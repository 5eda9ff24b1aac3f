#include "models/layers/batch_norm.h"

#include "core/base/error.h"
#include "models/operators/batch_norm.h"

namespace kiln {

BatchNorm::BatchNorm(std::int64_t channels, const at::TensorOptions& options,
                     const BatchNormOptions& own)
    : choice(own) {
  const auto type = c10::typeMetaToScalarType(options.dtype());
  const auto wide = options.dtype(type == at::kDouble ? at::kDouble : at::kFloat);
  if (choice.has_scale) weight = register_parameter("weight", at::empty({channels}, options));
  if (choice.has_shift) bias = register_parameter("bias", at::empty({channels}, options));
  running_mean = register_buffer("running_mean", at::zeros({channels}, wide));
  running_var = register_buffer("running_var", at::ones({channels}, wide));
  num_batches_tracked =
      register_buffer("num_batches_tracked", at::zeros({}, options.dtype(at::kLong)));
}

at::Tensor BatchNorm::normalised(const at::Tensor& x, BatchNormMode mode, bool has_relu,
                                 const at::Tensor& added) {
  BatchNormInput in{.x = x, .gamma = weight, .beta = bias, .added = added};
  in.eps = choice.eps;
  in.has_relu = has_relu;
  if (mode == BatchNormMode::kEvaluation) {
    in.mean = running_mean;
    in.variance = running_var;
    return fused_batch_norm(in).y;
  }
  if (x.numel() / x.size(1) < 2) {
    throw usage_error(
        "a batch norm of {} channels is given one value for each: the statistics of a "
        "micro-batch need at least two samples, so raise train.micro_batch",
        x.size(1));
  }
  const BatchNormOutput out = fused_batch_norm(in);
  seen.push_back(out.statistics);
  return out.y;
}

at::Tensor BatchNorm::forward(const at::Tensor& x, BatchNormMode mode) {
  return normalised(x, mode, false, {});
}

at::Tensor BatchNorm::forward_groups(const at::Tensor& x, BatchNormMode mode, std::int64_t groups) {
  KILN_CHECK(x.size(0) % groups == 0, "{} samples in {} groups", x.size(0), groups);
  const std::size_t first = seen.size();
  std::vector<at::Tensor> parts;
  for (const at::Tensor& part : x.chunk(groups)) parts.push_back(forward(part, mode));
  if (seen.size() > first) {
    const auto begin = seen.begin() + static_cast<std::ptrdiff_t>(first);
    const at::Tensor mean = at::stack(std::vector<at::Tensor>(begin, seen.end())).mean(0);
    seen.resize(first);
    seen.push_back(mean);
  }
  return at::cat(parts);
}

at::Tensor BatchNorm::forward_relu(const at::Tensor& x, BatchNormMode mode,
                                   const at::Tensor& added) {
  return normalised(x, mode, true, added);
}

BatchNorms::BatchNorms(torch::nn::Module& network, std::size_t passes) : passes_(passes) {
  for (const auto& module : network.modules(/*include_self=*/false)) {
    if (auto layer = std::dynamic_pointer_cast<BatchNorm>(module)) layers_.push_back(layer);
  }
}

void BatchNorms::begin() {
  for (const auto& layer : layers_) layer->seen.clear();
}

Sums BatchNorms::sums(const std::string& name) const {
  Sums sums;
  if (layers_.empty()) return sums;
  for (std::size_t pass = 0; pass < passes_; ++pass) {
    std::vector<at::Tensor> all;
    for (const auto& layer : layers_) {
      const bool has_seen = pass < layer->seen.size();
      all.push_back(
          has_seen ? layer->seen[pass].flatten()
                   : at::zeros({2 * layer->running_mean.numel()}, layer->running_mean.options()));
    }
    const double count = layers_[0]->seen.empty() ? 0.0 : 1.0;
    all.push_back(at::full({1}, count, all[0].options()));
    sums[name + "." + std::to_string(pass)] = at::cat(all);
  }
  return sums;
}

void BatchNorms::move(const Sums& sums, const std::string& name) {
  const at::NoGradGuard no_grad;
  for (std::size_t pass = 0; pass < passes_ && !layers_.empty(); ++pass) {
    const at::Tensor& all = sums.at(name + "." + std::to_string(pass));
    const at::Tensor means = all / all[all.numel() - 1];
    std::int64_t begin = 0;
    const auto take = [&](at::Tensor running, double momentum) {
      const at::Tensor target = means.narrow(0, begin, running.numel());
      running.lerp_(target.to(running.options()), momentum);
      begin += running.numel();
    };
    for (const auto& layer : layers_) {
      take(layer->running_mean, layer->choice.momentum);
      take(layer->running_var, layer->choice.momentum);
      layer->num_batches_tracked.add_(1);
    }
  }
  begin();
}

std::vector<Buffer> running_statistics(const torch::nn::Module& network,
                                       const std::string& prefix) {
  std::vector<Buffer> list;
  for (const auto& item : network.named_buffers()) {
    list.push_back({prefix.empty() ? item.key() : prefix + "." + item.key(), item.value()});
  }
  return list;
}

}  // namespace kiln
