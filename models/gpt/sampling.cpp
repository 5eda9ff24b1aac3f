#include "models/gpt/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/base/philox.h"

namespace kiln {

std::vector<std::string> TokenSampling::problems() const {
  std::vector<std::string> found;
  if (!(temperature > 0.0))
    found.push_back(fmt::format("draw.temperature = {}; above 0", temperature));
  if (top_k && *top_k < 1) found.push_back(fmt::format("draw.top_k = {}; at least 1", *top_k));
  if (!(top_p > 0.0 && top_p <= 1.0)) {
    found.push_back(fmt::format("draw.top_p = {}; above 0 and at most 1", top_p));
  }
  return found;
}

at::Tensor token_probabilities(const at::Tensor& logits, const TokenSampling& sampling) {
  at::Tensor scores = logits.to(at::kDouble) / sampling.temperature;  // [B, O]
  const std::int64_t O = scores.size(1);
  if (sampling.top_k && *sampling.top_k < O) {
    const at::Tensor least =
        std::get<0>(scores.topk(*sampling.top_k, 1)).narrow(1, *sampling.top_k - 1, 1);
    scores = scores.masked_fill(scores < least, -std::numeric_limits<double>::infinity());
  }
  const at::Tensor probabilities = scores.softmax(1);
  if (sampling.top_p >= 1.0) return probabilities;
  const at::Tensor sorted = std::get<0>(probabilities.sort(1, /*descending=*/true));
  const at::Tensor is_needed = (sorted.cumsum(1) - sorted) < sampling.top_p;  // at least the first
  const at::Tensor least = sorted.masked_fill(is_needed.logical_not(), 2.0).amin(1, true);
  const at::Tensor kept = probabilities * (probabilities >= least);
  return kept / kept.sum(1, true);
}

at::Tensor draw_tokens(const at::Tensor& probabilities, std::uint64_t seed,
                       std::int64_t first_sample, std::int64_t index) {
  const std::int64_t B = probabilities.size(0), O = probabilities.size(1);
  const at::Tensor rows = probabilities.contiguous(), drawn = at::empty({B}, at::kLong);
  for (std::int64_t b = 0; b < B; ++b) {
    const double* p = rows.const_data_ptr<double>() + b * O;
    const Philox stream(seed, Purpose::kSampling, first_sample + b);
    const double u = stream.uniform(static_cast<std::uint64_t>(index));
    // The first token whose sum exceeds u. Rounding may leave the sum of all below u.
    std::int64_t token = 0, last = 0;
    for (double sum = 0.0; token < O; ++token) {
      if (p[token] > 0.0) last = token;
      if ((sum += p[token]) > u) break;
    }
    drawn.mutable_data_ptr<std::int64_t>()[b] = std::min(token, last);
  }
  return drawn;
}

at::Tensor generate_tokens(const Gpt& gpt, const at::Tensor& given, std::int64_t L,
                           const TokenSampling& sampling, std::uint64_t seed,
                           std::int64_t first_sample) {
  const at::NoGradGuard no_grad;
  KILN_CHECK(given.size(1) >= 1 && L >= 1, "{} tokens given, {} to draw", given.size(1), L);
  auto caches = gpt.make_caches(given.size(0), given.size(1) + L - 1);
  const auto device = gpt.tokens.device();
  const at::Tensor drawn = at::empty({given.size(0), L}, at::kLong);
  at::Tensor next = given;
  for (std::int64_t i = 0; i < L; ++i) {
    const at::Tensor logits = gpt.next_logits(next.to(device), caches);
    next = draw_tokens(token_probabilities(logits.to(at::kCPU), sampling), seed, first_sample, i)
               .unsqueeze(1);  // [B, 1]
    drawn.narrow(1, i, 1).copy_(next);
  }
  return drawn;
}

}  // namespace kiln
