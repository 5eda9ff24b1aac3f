#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/store/manifest.h"

namespace kiln {

nlohmann::ordered_json manifest_to_json(const Manifest& manifest);
/// Throws Error(kData) or nlohmann's exceptions on what does not fit.
Manifest manifest_from_json(const nlohmann::ordered_json& json);
/// What a file holds; what of names of files is no UTF-8 is replaced.
std::string json_text(const nlohmann::ordered_json& json);
nlohmann::ordered_json shard_to_json(const ShardInfo& shard);
ShardInfo shard_from_json(const nlohmann::ordered_json& json);

}  // namespace kiln
