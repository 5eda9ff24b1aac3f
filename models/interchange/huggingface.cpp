#include "models/interchange/huggingface.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "core/checkpoint/safetensors.h"
#include "core/torch.h"
#include "models/interchange/format.h"

namespace kiln {
namespace fs = std::filesystem;
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kIndex = "model.safetensors.index.json";
// transformers and diffusers name the one file of weights differently.
constexpr const char* kWeights[] = {"model.safetensors", "diffusion_pytorch_model.safetensors"};

nlohmann::json read_json(const fs::path& file) {
  try {
    return nlohmann::json::parse(read_text_file(file));
  } catch (const nlohmann::json::exception& error) {
    throw checkpoint_error("{} is not valid JSON: {}", file.string(), error.what());
  }
}

std::vector<fs::path> weight_files(const fs::path& dir) {
  if (fs::exists(dir / kIndex)) {
    std::set<fs::path> files;
    const nlohmann::json index = read_json(dir / kIndex);
    for (const auto& [name, file] : index.at("weight_map").items()) {
      files.insert(dir / file.get<std::string>());
    }
    return {files.begin(), files.end()};
  }
  for (const char* name : kWeights) {
    if (fs::exists(dir / name)) return {dir / name};
  }
  throw checkpoint_error(
      "{} holds neither {} nor {}. Weights in other formats (.bin, .pth) have to be converted to "
      "safetensors first",
      dir.string(), kWeights[0], kWeights[1]);
}

NamedTensors read_weights(const fs::path& dir) {
  NamedTensors tensors;
  for (const fs::path& path : weight_files(dir)) {
    const SafetensorsFile file(path);
    for (const auto& [name, entry] : file.entries()) tensors[name] = file.read(name);
  }
  return tensors;
}

std::string type_of(const nlohmann::json& config) {
  for (const char* key : {"model_type", "_class_name"}) {
    if (config.contains(key) && config[key].is_string()) return config[key].get<std::string>();
  }
  return "";
}

const InterchangeFormat& find_format(const std::string& type, const fs::path& dir) {
  std::string known;
  for (const InterchangeFormat& format : interchange_formats()) {
    if (format.model_type == type) return format;
    known += (known.empty() ? "" : ", ") + format.model_type;
  }
  throw checkpoint_error("{}: config.json describes a model of type '{}'; known are {}",
                         dir.string(), type, known);
}

void write_json(const fs::path& file, const nlohmann::ordered_json& json) {
  write_file_atomically(posix_file_system(), file, json.dump(2) + "\n");
}

}  // namespace

void export_huggingface(Objective& objective, const fs::path& dir) {
  for (const InterchangeFormat& format : interchange_formats()) {
    const nlohmann::ordered_json config = format.config(objective);
    if (config.is_null()) continue;
    if (is_huggingface_folder(dir)) {
      throw usage_error("{} already holds a model; name a new folder", dir.string());
    }
    fs::create_directories(dir);
    const auto tensors = to_theirs(format.names(objective), named_tensors(objective.module()));
    write_safetensors(dir / kWeights[config.contains("_class_name") ? 1 : 0], tensors);
    if (format.preprocessor) {
      write_json(dir / format.preprocessor_file, format.preprocessor(objective));
    }
    write_json(dir / kConfig, config);
    return;
  }
  throw usage_error("this model has no Hugging Face layout");
}

ImportedModel import_huggingface(const fs::path& dir) {
  if (!is_huggingface_folder(dir)) {
    throw checkpoint_error("{} holds no config.json, so it is no Hugging Face model", dir.string());
  }
  const nlohmann::json config = read_json(dir / kConfig);
  const InterchangeFormat& format = find_format(type_of(config), dir);
  const fs::path beside = dir / format.preprocessor_file;
  const nlohmann::json preprocessor = fs::exists(beside) ? read_json(beside) : nlohmann::json();
  NamedTensors theirs = rename_aliases(read_weights(dir), format.aliases);
  if (format.normalise) theirs = format.normalise(theirs, dir.string());
  InterchangeFormat::Made made = format.make_from_tensors
                                     ? format.make_from_tensors(config, theirs, dir.string())
                                     : format.make(config, preprocessor, dir.string());
  load_tensors(made.objective->module(),
               to_ours(format.names(*made.objective), theirs, dir.string()), dir.string());
  return {std::move(made.objective), std::move(made.recipe), std::move(made.data)};
}

bool is_huggingface_folder(const fs::path& dir) { return fs::exists(dir / kConfig); }

}  // namespace kiln
