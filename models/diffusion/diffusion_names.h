#pragma once

#include <nlohmann/json.hpp>

#include "models/dit/dit.h"
#include "models/interchange/names.h"
#include "models/unet/unet.h"

// UNet2DModel, UNet2DConditionModel and DiTTransformer2DModel as diffusers writes and reads them.

namespace kiln {

NameTable unet_names(const UNetShape& shape);
/// diffusers holds the time and class embedders once per block, all equal.
NameTable dit_names(const DitShape& shape);

/// Throw Error(kCheckpoint) naming every key that is missing or cannot be followed.
UNetShape unet_shape_from_config(const nlohmann::json& config, const std::string& origin);
DitShape dit_shape_from_config(const nlohmann::json& config, const std::string& origin);
nlohmann::ordered_json config_of(const UNetShape& shape, std::int64_t sample_size);
nlohmann::ordered_json config_of(const DitShape& shape);

}  // namespace kiln
