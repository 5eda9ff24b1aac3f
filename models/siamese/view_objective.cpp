#include "models/siamese/view_objective.h"

#include "models/layers/submodule.h"
#include "models/siamese/views.h"

namespace kiln {

ViewEncoder::ViewEncoder(const BackboneShape& shape, const std::vector<HeadLayer>& head_layers,
                         const at::TensorOptions& options)
    : backbone(*this, "backbone", shape, options) {
  head = add<MlpHead>(*this, "head", backbone.dim(), head_layers, options);
}

at::Tensor ViewEncoder::forward(const at::Tensor& images, BatchNormMode mode,
                                DropoutStream& drop) const {
  return head->forward(backbone.forward(images, mode, drop), mode);
}

std::size_t ViewEncoder::initialise(HeadInit head_init, std::uint64_t seed,
                                    bool has_zero_last_gamma) const {
  return initialise_head(*head, head_init, seed, backbone.initialise(seed, has_zero_last_gamma));
}

void ViewObjective::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

std::vector<Phase> ViewObjective::phases() const { return {{.name = "all", .is_coupled = true}}; }

std::vector<std::string> ViewObjective::poolings() const {
  return {backbone().is_vit() ? "cls" : "mean"};
}

at::Tensor ViewObjective::features(const Batch& batch, const std::string&) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  return backbone()
      .forward(pixels_.normalise(batch.at("image")), BatchNormMode::kEvaluation, none)
      .to(at::kFloat);
}

at::Tensor ViewObjective::view(const Batch& batch, std::int64_t number) const {
  return pixels_.normalise(batch.at(view_name(number)));
}

void add_similarity_metrics(const at::Tensor& q, const at::Tensor& k,
                            std::map<std::string, std::pair<at::Tensor, double>>& metrics) {
  const at::NoGradGuard no_grad;
  const at::Tensor pairs = (q * k).sum();
  const auto n = static_cast<double>(q.size(0));
  metrics["positive_similarity"] = {pairs, n};
  // The sum over all pairs is the product of the sums.
  if (n > 1.0) metrics["negative_similarity"] = {(q.sum(0) * k.sum(0)).sum() - pairs, n * (n - 1)};
}

}  // namespace kiln
