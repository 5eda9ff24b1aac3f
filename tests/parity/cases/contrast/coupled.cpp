#include "tests/parity/cases/contrast/coupled.h"

#include "core/torch.h"

namespace kiln::parity {

CoupledStep coupled_step(Objective& objective, const std::vector<Batch>& batches,
                         const StepContext& context) {
  CoupledStep step;
  std::vector<Rows> parts;
  std::map<std::string, std::vector<at::Tensor>> gathered;
  for (const Batch& batch : batches) {
    parts.push_back(objective.embed(batch, context, 0));
    for (const auto& [name, sum] : objective.sums(0)) {
      step.sums[name] = step.sums.contains(name) ? step.sums[name] + sum : sum;
    }
    for (const auto& [name, rows] : parts.back()) gathered[name].push_back(rows);
  }
  Rows leaves;
  for (const auto& [name, tensors] : gathered) {
    leaves[name] = at::cat(tensors).detach().requires_grad_(tensors[0].requires_grad());
    step.rows[name] = leaves[name].detach();
  }
  step.loss = objective.couple(leaves, context, 0).value;
  step.loss.backward();
  for (const auto& [name, leaf] : leaves) step.gradients[name] = leaf.grad();
  const auto count = static_cast<std::int64_t>(batches.size());
  for (std::size_t m = 0; m < parts.size(); ++m) {
    at::Tensor product = at::zeros({}, step.loss.options());
    for (const auto& [name, rows] : parts[m]) {
      const at::Tensor& gradient = step.gradients.at(name);
      if (gradient.defined()) product = product + (rows * gradient.chunk(count)[m]).sum();
    }
    product.backward();
  }
  return step;
}

void move_averages(Objective& objective, double decay) {
  const at::NoGradGuard no_grad;
  for (const Average& average : objective.averages()) {
    for (const Average::Pair& pair : average.pairs) {
      const at::Tensor moved = decay * pair.target + (1.0 - decay) * pair.source;
      at::Tensor(pair.target).copy_(moved);
    }
  }
}

at::Tensor checksum(const at::Tensor& weights) {
  const at::Tensor flat = weights.detach().to(at::kDouble).reshape({-1});
  return (flat * at::arange(flat.numel(), flat.options()).cos()).sum();
}

at::Tensor pictures(const Case& reference, const std::string& tensor) {
  return reference.input(tensor).permute({0, 2, 3, 1});
}

ResNetShape resnet_of(const nlohmann::json& settings) {
  ResNetShape shape;
  shape.channels = 3;
  shape.stem_width = settings.at("width");
  shape.depths = settings.at("depths").get<std::vector<std::int64_t>>();
  shape.has_bottlenecks = false;
  shape.has_cifar_stem = settings.at("stem") == "cifar";
  shape.widths.clear();
  for (std::size_t s = 0; s < shape.depths.size(); ++s) {
    shape.widths.push_back(shape.stem_width << s);
  }
  return shape;
}

}  // namespace kiln::parity
