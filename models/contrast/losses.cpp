#include "models/contrast/losses.h"

#include <limits>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {

at::Tensor unit_rows(const at::Tensor& x) {
  return x / x.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
}

at::Tensor margin_loss(const at::Tensor& a, const at::Tensor& b, const at::Tensor& is_positive,
                       double margin) {
  const at::Tensor squared = (a - b).square().sum(1);  // [N]
  const at::Tensor gap = (margin - (squared + 1e-12).sqrt()).clamp_min(0.0);
  return 0.5 * at::where(is_positive, squared, gap.square());
}

QueueContrast info_nce_with_queue(const at::Tensor& q, const at::Tensor& k, const at::Tensor& queue,
                                  double temperature) {
  QueueContrast out;
  out.positives = (q * k).sum(1);
  out.negatives = q.matmul(queue.t());
  const at::Tensor logits = at::cat({out.positives.unsqueeze(1), out.negatives}, 1) / temperature;
  out.losses = at::logsumexp(logits, {1}) - logits.select(1, 0);
  return out;
}

at::Tensor info_nce_in_batch(const at::Tensor& q, const at::Tensor& k, double temperature) {
  const at::Tensor logits = q.matmul(k.t()) / temperature;  // [N, N]
  return at::logsumexp(logits, {1}) - logits.diagonal();
}

at::Tensor symmetric_info_nce(const at::Tensor& q, const at::Tensor& k, double temperature) {
  const at::Tensor logits = q.matmul(k.t()) / temperature;  // [N, N]
  const at::Tensor both = at::logsumexp(logits, {1}) + at::logsumexp(logits, {0});
  return 0.5 * both - logits.diagonal();
}

at::Tensor nt_xent(const at::Tensor& z, double temperature) {
  KILN_CHECK(z.size(0) % 2 == 0, "{} rows are no pairs", z.size(0));
  const at::Tensor unit = unit_rows(z);                           // [2 N, D]
  const at::Tensor scores = unit.matmul(unit.t()) / temperature;  // [2 N, 2 N]
  const at::Tensor itself = at::eye(z.size(0), z.options().dtype(at::kBool));
  const at::Tensor others = scores.masked_fill(itself, -std::numeric_limits<double>::infinity());
  const at::Tensor partners = (unit * unit.roll(z.size(0) / 2, 0)).sum(1) / temperature;
  return at::logsumexp(others, {1}) - partners;
}

}  // namespace kiln
