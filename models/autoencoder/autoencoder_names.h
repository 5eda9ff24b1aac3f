#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "models/autoencoder/network.h"
#include "models/interchange/names.h"

// AutoencoderKL and VQModel as diffusers writes and reads them.

namespace kiln {

NameTable autoencoder_names(const AutoencoderShape& shape);
/// Spellings of older files: attention by query, key, value and proj_attn.
std::vector<NameAlias> autoencoder_aliases();

/// Throws Error(kCheckpoint) naming every key that is missing or cannot be followed.
AutoencoderShape autoencoder_shape_from_config(const nlohmann::json& config,
                                               const std::string& origin);
nlohmann::ordered_json config_of(const AutoencoderShape& shape, double latent_scale,
                                 std::int64_t image_size);

}  // namespace kiln
