#include "models/autoencoder/codebook.h"

namespace kiln {

CodebookStatistics::CodebookStatistics(const CodebookOptions& choice,
                                       const at::TensorOptions& tensor_options)
    : options(choice) {
  const auto fp32 = tensor_options.dtype(at::kFloat);
  usage = register_buffer("usage", at::zeros({options.codes}, fp32));
  if (!options.is_averaged) return;
  cluster_size = register_buffer("cluster_size", at::ones({options.codes}, fp32));
  cluster_sum = register_buffer("cluster_sum", at::zeros({options.codes, options.channels}, fp32));
}

void CodebookStatistics::start_from(const at::Tensor& codes) {
  if (!options.is_averaged) return;
  cluster_size.fill_(1.0);
  cluster_sum.copy_(codes);
}

Sums CodebookStatistics::contributions(const at::Tensor& z, const at::Tensor& indices,
                                       std::int64_t micro_batch,
                                       std::int64_t num_micro_batches) const {
  const at::NoGradGuard no_grad;
  const at::Tensor flat = indices.reshape({-1});
  Sums sums;
  sums["codebook.counts"] =
      at::zeros_like(usage).index_add_(0, flat, at::ones({flat.size(0)}, usage.options()));
  if (!options.is_averaged) return sums;
  const at::Tensor vectors = z.permute({0, 2, 3, 1}).reshape({-1, options.channels}).to(at::kFloat);
  sums["codebook.vectors"] = at::zeros_like(cluster_sum).index_add_(0, flat, vectors);
  at::Tensor proposals = at::zeros({num_micro_batches, options.channels}, cluster_sum.options());
  // The middle pixel of the middle sample: the border of many pictures is empty.
  proposals.select(0, micro_batch).copy_(vectors[vectors.size(0) / 2 + z.size(3) / 2]);
  sums["codebook.proposals"] = proposals;
  return sums;
}

void CodebookStatistics::update(const Sums& sums, std::int64_t step, at::Tensor& codes) {
  const at::NoGradGuard no_grad;
  const at::Tensor counts = sums.at("codebook.counts").to(usage.options());
  const double decay = step == 0 ? 0.0 : options.decay;
  usage.mul_(decay).add_(counts / counts.sum(), 1.0 - decay);
  if (!options.is_averaged) return;
  cluster_size.mul_(options.decay).add_(counts, 1.0 - options.decay);
  cluster_sum.mul_(options.decay)
      .add_(sums.at("codebook.vectors").to(cluster_sum.options()), 1.0 - options.decay);
  const at::Tensor mean_size = cluster_size.mean();
  if (options.restart_below > 0.0) {
    // The k-th unused code takes proposal (k + step) mod M, so that none stands for too many.
    const at::Tensor proposals = sums.at("codebook.proposals").to(cluster_sum.options());
    const at::Tensor is_unused = cluster_size < mean_size * options.restart_below;  // [K]
    const at::Tensor order = is_unused.cumsum(0).add_(step).remainder_(proposals.size(0));
    const at::Tensor begun = proposals.index_select(0, order) * mean_size;
    cluster_sum.copy_(at::where(is_unused.unsqueeze(1), begun, cluster_sum));
    cluster_size.copy_(at::where(is_unused, mean_size, cluster_size));
  }
  // Laplace smoothing keeps a code that nothing uses from being divided by nothing.
  constexpr double kSmoothing = 1e-5;
  const at::Tensor total = cluster_size.sum();
  const at::Tensor smoothed = (cluster_size + kSmoothing) /
                              (total + kSmoothing * static_cast<double>(options.codes)) * total;
  codes.copy_(cluster_sum / smoothed.unsqueeze(1));
}

at::Tensor CodebookStatistics::perplexity() const {
  const at::Tensor entropy = -at::special_xlogy(usage, usage).sum();
  return at::where(usage.sum() > 0, entropy.exp(), at::zeros_like(entropy));
}

}  // namespace kiln
