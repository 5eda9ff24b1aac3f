#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/torch.h"
#include "models/interchange/names.h"
#include "models/layers/parameters.h"

namespace kiln::parity {

/// A stored computation of another implementation: weights, inputs, outputs, gradients.
struct Case {
  std::filesystem::path dir;
  std::string name;  // of the folder, or "tiny_..." of a golden file
  bool is_golden = false;
  nlohmann::json config;  // config.json; an empty object where there is none
  nlohmann::json info;    // case.json, or NAME.json of a golden; the same
  NamedTensors weights;   // model.safetensors
  NamedTensors tensors;   // case.safetensors

  /// In which precision and where to run: set by --float64 and --device. `weights` and `tensors`
  /// are there.
  at::ScalarType type = at::kFloat;
  at::Device device = at::kCPU;

  at::TensorOptions options() const { return at::TensorOptions(type).device(device); }
  bool has(const std::string& tensor) const { return tensors.contains(tensor); }
  const at::Tensor& at(const std::string& tensor) const;
  /// A floating-point input in `type`; integers as stored.
  at::Tensor input(const std::string& tensor) const;
  /// Speaks of tensors by the names of our tables.
  void rename(const std::vector<NameAlias>& aliases);
};

/// `path` is a case's folder or a golden .safetensors file.
Case load_case(const std::filesystem::path& path, at::ScalarType type, at::Device device);

/// Every tensor of a file.
NamedTensors read_all(const std::filesystem::path& file, at::Device device = at::kCPU);

/// What a command-line path stands for: itself, or the golden files of a folder that holds them.
std::vector<std::filesystem::path> expand(const std::filesystem::path& path);

}  // namespace kiln::parity
