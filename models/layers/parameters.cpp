#include "models/layers/parameters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {

void append_parameter(std::vector<Parameter>& list, const std::string& name,
                      const at::Tensor& tensor) {
  Parameter parameter;
  parameter.name = name;
  parameter.tensor = tensor;
  parameter.has_decay = tensor.dim() > 1;
  list.push_back(std::move(parameter));
}

void append_parameters(std::vector<Parameter>& list, const std::string& prefix,
                       const torch::nn::Module& module) {
  for (const auto& item : module.named_parameters()) {
    append_parameter(list, prefix + "." + item.key(), item.value());
  }
}

at::ScalarType weights_type(const Recipe& recipe) {
  return recipe.run.precision == "bf16" ? at::kBFloat16 : at::kFloat;
}

NamedTensors named_tensors(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const auto& item : module.named_parameters()) tensors[item.key()] = item.value();
  for (const auto& item : module.named_buffers()) tensors[item.key()] = item.value();
  return tensors;
}

std::string join_names(const std::vector<std::string>& names, std::size_t limit) {
  if (names.size() <= limit) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format(
      "{} and {} more",
      fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(limit), ", "),
      names.size() - limit);
}

void load_tensors(torch::nn::Module& module, const NamedTensors& values,
                  const std::string& origin) {
  const NamedTensors targets = named_tensors(module);
  std::vector<std::string> missing, unexpected, misshapen;
  for (const auto& [name, target] : targets) {
    const auto found = values.find(name);
    if (found == values.end()) {
      missing.push_back(name);
    } else if (found->second.sizes() != target.sizes()) {
      misshapen.push_back(fmt::format("{} [{}] instead of [{}]", name,
                                      fmt::join(found->second.sizes(), ", "),
                                      fmt::join(target.sizes(), ", ")));
    }
  }
  for (const auto& [name, value] : values) {
    if (!targets.contains(name)) unexpected.push_back(name);
  }
  std::string problems;
  if (!missing.empty()) problems += fmt::format("\n  missing: {}", join_names(missing));
  if (!unexpected.empty()) problems += fmt::format("\n  unexpected: {}", join_names(unexpected));
  if (!misshapen.empty()) problems += fmt::format("\n  other shape: {}", join_names(misshapen));
  if (!problems.empty()) {
    throw checkpoint_error("{} does not fit this model:{}", origin, problems);
  }
  const at::NoGradGuard no_grad;
  for (const auto& [name, target] : targets) at::Tensor(target).copy_(values.at(name));
}

}  // namespace kiln
