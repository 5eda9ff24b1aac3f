#include "models/measures/knn.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

// Rows of the similarity matrix held at once: 256 x N floats.
constexpr std::int64_t kQueriesAtOnce = 256;

at::Tensor unit_rows(const at::Tensor& x) {
  const at::Tensor values = x.to(at::kFloat);
  return values / values.norm(2, 1, true).clamp_min(1e-12);
}

}  // namespace

at::Tensor knn_predict(const LabelledFeatures& train, const at::Tensor& queries,
                       std::int64_t num_classes, const KnnOptions& options) {
  const at::NoGradGuard no_grad;
  KILN_CHECK(train.features.size(0) == train.labels.size(0) && train.features.size(0) > 0,
             "{} features, {} labels", train.features.size(0), train.labels.size(0));
  const at::Tensor bank = unit_rows(train.features).t();  // [D, N]
  const std::int64_t k = std::min(options.k, bank.size(1));
  std::vector<at::Tensor> predicted;
  for (const at::Tensor& part : unit_rows(queries).split(kQueriesAtOnce)) {
    const auto [cosine, index] = at::mm(part, bank).topk(k, 1);  // [m, k]
    const at::Tensor votes = (cosine / options.temperature).exp_();
    const at::Tensor labels = train.labels.index_select(0, index.reshape({-1})).view(index.sizes());
    const at::Tensor scores = at::zeros({part.size(0), num_classes}, votes.options());
    predicted.push_back(scores.scatter_add(1, labels, votes).argmax(1));
  }
  return predicted.empty() ? at::empty({0}, at::kLong) : at::cat(predicted);
}

double accuracy(const at::Tensor& predicted, const at::Tensor& labels) {
  return predicted.eq(labels).to(at::kDouble).mean().item<double>();
}

}  // namespace kiln
