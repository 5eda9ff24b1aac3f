#include "core/checkpoint/checkpoint_manifest.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/error.h"

namespace kiln {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSelfHashKey = "manifest_xxh3_128";

Json to_json(const CheckpointManifest::Tensor& tensor) {
  Json pieces = Json::array();
  for (const auto& piece : tensor.pieces)
    pieces.push_back({piece.file, piece.elements.begin, piece.elements.end});
  return {{"kind", to_string(tensor.kind)},
          {"dtype", tensor.dtype},
          {"shape", tensor.shape},
          {"pieces", pieces}};
}

TensorKind parse_kind(const std::string& text) {
  for (const auto kind :
       {TensorKind::kWeight, TensorKind::kEma, TensorKind::kBuffer, TensorKind::kOptimizer})
    if (to_string(kind) == text) return kind;
  throw checkpoint_error("unknown kind of tensor '{}'", text);
}

CheckpointManifest::Tensor parse_tensor(const Json& json) {
  CheckpointManifest::Tensor tensor;
  tensor.kind = parse_kind(json.at("kind").get<std::string>());
  json.at("dtype").get_to(tensor.dtype);
  json.at("shape").get_to(tensor.shape);
  for (const Json& piece : json.at("pieces"))
    tensor.pieces.push_back({piece.at(0).get<std::string>(),
                             {piece.at(1).get<std::int64_t>(), piece.at(2).get<std::int64_t>()}});
  return tensor;
}

Json to_json(const CheckpointManifest& manifest) {
  Json json = {{"format", CheckpointManifest::kFormat},
               {"step", manifest.step},
               {"samples_seen", manifest.samples_seen},
               {"attempt", manifest.attempt},
               {"ranks", manifest.ranks},
               {"recipe_hash", manifest.recipe_hash},
               {"dataset_fingerprint", manifest.dataset_fingerprint},
               {"identity", manifest.identity},
               {"environment", manifest.environment},
               {"extra", manifest.extra}};
  json["files"] = Json::object();
  for (const auto& [name, hash] : manifest.files)
    json["files"][name] = {{"bytes", hash.num_bytes}, {"xxh3_128", hash.xxh3}};
  json["tensors"] = Json::object();
  for (const auto& [name, tensor] : manifest.tensors) json["tensors"][name] = to_json(tensor);
  return json;
}

CheckpointManifest from_json(const Json& json) {
  CheckpointManifest manifest;
  json.at("step").get_to(manifest.step);
  json.at("samples_seen").get_to(manifest.samples_seen);
  json.at("attempt").get_to(manifest.attempt);
  json.at("ranks").get_to(manifest.ranks);
  json.at("recipe_hash").get_to(manifest.recipe_hash);
  json.at("dataset_fingerprint").get_to(manifest.dataset_fingerprint);
  json.at("identity").get_to(manifest.identity);
  json.at("environment").get_to(manifest.environment);
  json.at("extra").get_to(manifest.extra);
  for (const auto& [name, file] : json.at("files").items())
    manifest.files[name] = {file.at("bytes").get<std::uint64_t>(),
                            file.at("xxh3_128").get<std::string>()};
  for (const auto& [name, tensor] : json.at("tensors").items())
    manifest.tensors[name] = parse_tensor(tensor);
  return manifest;
}

/// First thing wrong with a tensor's pieces, or "".
std::string coverage_fault(const CheckpointManifest& manifest,
                           const CheckpointManifest::Tensor& tensor) {
  std::int64_t next = 0;
  for (const auto& piece : tensor.pieces) {
    if (manifest.files.count(piece.file) == 0)
      return fmt::format("lies in {}, which is not part of it", piece.file);
    if (piece.elements.begin != next || piece.elements.end < next)
      return fmt::format("has a piece {} to {} where {} is next", piece.elements.begin,
                         piece.elements.end, next);
    next = piece.elements.end;
  }
  if (next != tensor.numel() || tensor.pieces.empty())
    return fmt::format("ends at element {} of {}", next, tensor.numel());
  return "";
}

/// The text of `json` with a hash of itself as last member. Byte for byte the only text for it, so
/// that comparing texts finds any change.
std::string seal(Json json) {
  const std::string text = json.dump(1);
  json[kSelfHashKey] = hash_bytes(text.data(), text.size()).hex();
  return json.dump(1) + "\n";
}

}  // namespace

std::string to_string(TensorKind kind) {
  switch (kind) {
    case TensorKind::kWeight:
      return "weight";
    case TensorKind::kEma:
      return "ema";
    case TensorKind::kBuffer:
      return "buffer";
    case TensorKind::kOptimizer:
      return "optimizer";
  }
  return "";
}

std::int64_t CheckpointManifest::Tensor::numel() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

void CheckpointManifest::merge(const CheckpointManifest& part) {
  files.insert(part.files.begin(), part.files.end());
  for (const auto& [name, tensor] : part.tensors) {
    auto [found, is_new] = tensors.try_emplace(name, tensor);
    if (is_new) continue;
    Tensor& ours = found->second;
    if (ours.kind != tensor.kind || ours.dtype != tensor.dtype || ours.shape != tensor.shape)
      throw checkpoint_error("ranks disagree about type or shape of '{}'", name);
    ours.pieces.insert(ours.pieces.end(), tensor.pieces.begin(), tensor.pieces.end());
    std::sort(ours.pieces.begin(), ours.pieces.end(),
              [](const auto& a, const auto& b) { return a.elements.begin < b.elements.begin; });
  }
}

std::string CheckpointManifest::to_text() const { return seal(to_json(*this)); }

CheckpointManifest CheckpointManifest::parse(std::string_view text, const std::string& origin) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) json.erase(kSelfHashKey);
  if (!json.is_object() || seal(json) != text)
    throw checkpoint_error("{} is damaged: its content does not match its own hash", origin);
  try {
    const auto format = json.at("format").get<std::int64_t>();
    if (format > kFormat)
      throw checkpoint_error("{} has format {}, this program reads up to {}: use a newer one",
                             origin, format, kFormat);
    return from_json(json);
  } catch (const Json::exception& fault) {
    throw checkpoint_error("{} is whole, but not a manifest of ours: {}", origin, fault.what());
  }
}

void CheckpointManifest::check_coverage(const std::string& origin) const {
  for (const auto& [name, tensor] : tensors) {
    const std::string fault = coverage_fault(*this, tensor);
    if (!fault.empty()) throw checkpoint_error("{}: tensor '{}' {}", origin, name, fault);
  }
}

std::string piece_key(const std::string& name, Range elements, std::int64_t numel) {
  if (elements == Range{0, numel}) return name;
  return fmt::format("{}@{}:{}", name, elements.begin, elements.end);
}

}  // namespace kiln
