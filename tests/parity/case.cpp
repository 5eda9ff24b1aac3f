#include "tests/parity/case.h"

#include <algorithm>
#include <fstream>

#include "core/base/error.h"
#include "core/checkpoint/safetensors.h"

namespace kiln::parity {
namespace fs = std::filesystem;
namespace {

nlohmann::json read_json(const fs::path& file) {
  if (!fs::exists(file)) return nlohmann::json::object();
  std::ifstream stream(file);
  return nlohmann::json::parse(stream);
}

bool is_golden_file(const fs::path& file) {
  const std::string name = file.stem().string();
  return file.extension() == ".safetensors" && name.starts_with("tiny_") && !name.ends_with("_hf");
}

}  // namespace

NamedTensors read_all(const fs::path& file, at::Device device) {
  const SafetensorsFile source(file);
  NamedTensors tensors;
  for (const auto& [name, entry] : source.entries()) tensors[name] = source.read(name).to(device);
  return tensors;
}

const at::Tensor& Case::at(const std::string& tensor) const {
  const auto found = tensors.find(tensor);
  if (found == tensors.end()) throw data_error("{}: no tensor '{}'", dir.string(), tensor);
  return found->second;
}

at::Tensor Case::input(const std::string& tensor) const {
  const at::Tensor& stored = at(tensor);
  return stored.is_floating_point() ? stored.to(type) : stored;
}

void Case::rename(const std::vector<NameAlias>& aliases) {
  weights = rename_aliases(weights, aliases);
  tensors = rename_aliases(tensors, aliases);
  if (!info.contains("tensors")) return;
  nlohmann::json renamed;
  for (const auto& [key, value] : info["tensors"].items()) {
    renamed[rename_aliases({{key, {}}}, aliases).begin()->first] = value;
  }
  info["tensors"] = renamed;
}

Case load_case(const fs::path& path, at::ScalarType type, at::Device device) {
  Case loaded;
  loaded.type = type;
  loaded.device = device;
  if (is_golden_file(path)) {
    loaded.is_golden = true;
    loaded.dir = path.parent_path();
    loaded.name = path.stem().string();
    loaded.info = read_json(fs::path(path).replace_extension(".json"));
    loaded.tensors = read_all(path, device);
    return loaded;
  }
  if (!fs::is_directory(path))
    throw usage_error("{}: neither a case's folder nor a golden", path.string());
  loaded.dir = path;
  loaded.name = fs::canonical(path).filename().string();
  loaded.config = read_json(path / "config.json");
  loaded.info = read_json(path / "case.json");
  const auto read = [&](const char* file) {
    return fs::exists(path / file) ? read_all(path / file, device) : NamedTensors();
  };
  loaded.weights = read("model.safetensors");
  loaded.tensors = read("case.safetensors");
  return loaded;
}

std::vector<fs::path> expand(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> goldens;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (is_golden_file(entry.path())) goldens.push_back(entry.path());
  }
  if (goldens.empty()) return {path};
  std::ranges::sort(goldens);
  return goldens;
}

}  // namespace kiln::parity
