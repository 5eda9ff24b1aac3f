#include <nlohmann/json.hpp>

#include "core/checkpoint/checkpoint_tools.h"

namespace kiln {
namespace {

using Json = nlohmann::json;

Json object_of(const CheckpointSummary& summary) {
  return {{"folder", summary.folder.string()},
          {"step", summary.step},
          {"samples_seen", summary.samples_seen},
          {"attempt", summary.attempt},
          {"ranks", summary.ranks},
          {"bytes", summary.num_bytes},
          {"valid", summary.problem.empty()},
          {"problem", summary.problem}};
}

Json object_of(const TensorSummary& tensor) {
  return {{"name", tensor.name},
          {"kind", to_string(tensor.stored.kind)},
          {"dtype", tensor.stored.dtype},
          {"shape", tensor.stored.shape},
          {"pieces", tensor.stored.pieces.size()},
          {"not_finite", tensor.num_not_finite},
          {"min", tensor.min},
          {"max", tensor.max},
          {"mean", tensor.mean},
          {"rms", tensor.rms}};
}

Json list_of(const std::vector<Difference>& differences) {
  Json list = Json::array();
  for (const auto& difference : differences)
    list.push_back({{"name", difference.name},
                    {"what", difference.what},
                    {"elements", difference.num_elements},
                    {"max_abs", difference.max_abs}});
  return list;
}

}  // namespace

Json to_json(const std::vector<CheckpointSummary>& summaries) {
  Json list = Json::array();
  std::size_t num_valid = 0;
  for (const auto& summary : summaries) {
    list.push_back(object_of(summary));
    num_valid += summary.problem.empty();
  }
  return {{"checkpoints", list}, {"valid", num_valid}, {"damaged", summaries.size() - num_valid}};
}

Json to_json(const CheckpointInspection& inspection) {
  Json json = object_of(inspection.summary);
  json["weights_hash"] = inspection.weights_hash;
  json["recipe_hash"] = inspection.manifest.recipe_hash;
  json["dataset_fingerprint"] = inspection.manifest.dataset_fingerprint;
  json["identity"] = inspection.manifest.identity;
  json["environment"] = inspection.manifest.environment;
  json["extra"] = inspection.manifest.extra;
  json["tensors"] = Json::array();
  for (const auto& tensor : inspection.tensors) json["tensors"].push_back(object_of(tensor));
  return json;
}

Json to_json(const CheckpointDiff& diff) {
  return {{"same_state", diff.tensors.empty()},
          {"keys", list_of(diff.keys)},
          {"tensors", list_of(diff.tensors)}};
}

Json to_json(const CheckpointHash& hash) {
  return {
      {"folder", hash.folder.string()}, {"step", hash.step}, {"weights_hash", hash.weights_hash}};
}

}  // namespace kiln
