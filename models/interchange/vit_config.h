#pragma once

#include <nlohmann/json.hpp>

#include "models/mae.h"

// config.json of ViT models, in the vocabulary of the Hugging Face hub.

namespace kiln {

/// Throws Error(kCheckpoint) naming every key that is missing, of the wrong type or of a value this
/// model cannot follow (another activation, no qkv bias).
MaeShape mae_shape_from_config(const nlohmann::json& config, const std::string& origin);
nlohmann::json config_of(const MaeShape& shape);

/// The encoder's part of any ViT config.
VitShape vit_shape_from_config(const nlohmann::json& config, const std::string& origin);

}  // namespace kiln
