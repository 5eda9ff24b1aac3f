#include "data/store/manifest.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/checked.h"
#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/store/files.h"
#include "data/store/manifest_json.h"

namespace kiln {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const FieldInfo& field) {
  Json json = {{"dtype", name(field.dtype)}, {"encoding", field.encoding}};
  if (field.is_ragged) {
    json["ragged"] = true;
  } else {
    json["shape"] = field.shape;
  }
  if (field.is_aside) json["aside"] = true;
  return json;
}

FieldInfo field_from_json(const Json& json) {
  FieldInfo field;
  field.dtype = dtype_from_name(json.at("dtype").get<std::string>());
  field.encoding = json.value("encoding", "raw");
  field.is_ragged = json.value("ragged", false);
  field.is_aside = json.value("aside", false);
  if (!field.is_ragged) field.shape = json.at("shape").get<std::vector<std::int64_t>>();
  return field;
}

/// What others rely on when they compute with these numbers.
void check_numbers(const Manifest& manifest) {
  for (const auto& [name, field] : manifest.fields) {
    std::vector<std::int64_t> factors = field.shape;
    factors.push_back(size_bytes(field.dtype));
    if (std::ranges::any_of(field.shape, [](std::int64_t dim) { return dim < 1; }) ||
        !checked_product(factors)) {
      throw data_error("field '{}' has the shape [{}]: expected numbers from 1 up", name,
                       fmt::join(field.shape, ", "));
    }
  }
  for (const ShardInfo& shard : manifest.shards) {
    if (shard.num_samples < 0)
      throw data_error("'{}' has {} samples", shard.file, shard.num_samples);
    for (const auto& [name, field] : manifest.fields) {
      const auto rows = shard.rows.find(name);
      if (rows == shard.rows.end() || rows->second < 0 || !shard.hashes.contains(name) ||
          (!field.is_aside && rows->second != shard.num_samples)) {
        throw data_error("'{}' does not say {} rows and a hash of field '{}'", shard.file,
                         shard.num_samples, name);
      }
    }
  }
  for (const char* name : {"channels", "max_pixels"}) {
    const auto found = manifest.attributes.find(name);
    if (found == manifest.attributes.end()) continue;
    const std::string& text = found->second;
    if (text.empty() || text.size() > 15 || text.find_first_not_of("0123456789") != text.npos) {
      throw data_error("attribute '{}' is '{}'; expected a number", name, text);
    }
  }
}

}  // namespace

Json shard_to_json(const ShardInfo& shard) {
  return {{"file", shard.file},        {"num_samples", shard.num_samples},
          {"bytes", shard.file_bytes}, {"rows", shard.rows},
          {"xxh3_128", shard.hashes},  {"file_xxh3_128", shard.file_hash}};
}

ShardInfo shard_from_json(const Json& json) {
  return {json.at("file").get<std::string>(),
          json.at("num_samples").get<std::int64_t>(),
          json.at("bytes").get<std::int64_t>(),
          json.at("rows").get<std::map<std::string, std::int64_t>>(),
          json.at("xxh3_128").get<std::map<std::string, std::string>>(),
          json.at("file_xxh3_128").get<std::string>()};
}

Json manifest_to_json(const Manifest& manifest) {
  Json json = {{"format", Manifest::kFormat},
               {"kind", manifest.kind},
               {"num_samples", manifest.num_samples},
               {"fields", Json::object()}};
  for (const auto& [name, field] : manifest.fields) json["fields"][name] = to_json(field);
  json["class_names"] = manifest.class_names;
  json["normalisation"] = {{"mean", manifest.mean}, {"std", manifest.std}};
  json["attributes"] = manifest.attributes;
  json["provenance"] = manifest.provenance;
  json["fingerprint"] = manifest.fingerprint();
  json["shards"] = Json::array();
  for (const ShardInfo& shard : manifest.shards) json["shards"].push_back(shard_to_json(shard));
  return json;
}

Manifest manifest_from_json(const Json& json) {
  const int format = json.at("format").get<int>();
  if (format != Manifest::kFormat) {
    throw data_error("its format is {}, this Kiln reads {}: import the data again", format,
                     Manifest::kFormat);
  }
  Manifest manifest;
  manifest.kind = json.at("kind").get<std::string>();
  for (const auto& [name, field] : json.at("fields").items()) {
    manifest.fields[name] = field_from_json(field);
  }
  manifest.class_names = json.value("class_names", std::vector<std::string>());
  if (json.contains("normalisation")) {
    manifest.mean = json["normalisation"].value("mean", std::vector<double>());
    manifest.std = json["normalisation"].value("std", std::vector<double>());
  }
  manifest.attributes = json.value("attributes", std::map<std::string, std::string>());
  manifest.provenance = json.value("provenance", std::map<std::string, std::string>());
  for (const Json& shard : json.at("shards")) {
    manifest.shards.push_back(shard_from_json(shard));
    manifest.num_samples =
        checked_sum(manifest.num_samples, manifest.shards.back().num_samples).value_or(-1);
  }
  if (const auto stated = json.at("num_samples").get<std::int64_t>();
      stated != manifest.num_samples) {
    throw data_error("it states {} samples but its shards have {}", stated, manifest.num_samples);
  }
  check_numbers(manifest);
  return manifest;
}

std::string json_text(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

std::int64_t FieldInfo::row_values() const {
  std::int64_t values = 1;
  for (const std::int64_t dim : shape) values *= dim;
  return values;
}

std::string Manifest::fingerprint() const {
  Json facts = {{"kind", kind}, {"fields", Json::object()}, {"shards", Json::array()}};
  for (const auto& [name, field] : fields) facts["fields"][name] = to_json(field);
  for (const ShardInfo& shard : shards) {
    facts["shards"].push_back({shard.num_samples, shard.rows, shard.hashes});
  }
  const std::string text = facts.dump(-1, ' ', false, Json::error_handler_t::replace);
  Xxh3Stream hash;
  hash.update(text.data(), text.size());
  return hash.digest().hex();
}

Manifest read_manifest(const std::filesystem::path& folder) {
  const auto path = folder / "dataset.json";
  if (!std::filesystem::exists(path)) {
    throw data_error(
        "no dataset in '{}': it has no dataset.json; make one with `kiln data import FORMAT INPUT "
        "--out {}`, or map the fields of HDF5 files in [data]",
        folder.string(), folder.string());
  }
  const std::vector<std::uint8_t> bytes = read_file(path);
  try {
    return manifest_from_json(Json::parse(bytes));
  } catch (const nlohmann::json::exception& error) {
    throw data_error("'{}' is damaged: {}", path.string(), error.what());
  } catch (const Error& error) {
    throw data_error("'{}': {}", path.string(), error.what());
  }
}

void write_manifest(const std::filesystem::path& folder, Manifest manifest) {
  manifest.num_samples = 0;
  for (const ShardInfo& shard : manifest.shards) manifest.num_samples += shard.num_samples;
  write_file_atomically(folder / "dataset.json", json_text(manifest_to_json(manifest)) + "\n");
}

}  // namespace kiln
