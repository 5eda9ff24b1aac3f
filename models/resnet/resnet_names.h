#pragma once

#include <nlohmann/json.hpp>

#include "models/interchange/names.h"
#include "models/resnet/resnet.h"

namespace kiln {

/// Our names, which are torchvision's, and those of transformers' ResNetForImageClassification,
/// statistics of the batch norms included; with `has_head` also `fc`.
NameTable resnet_names(const ResNetShape& shape, bool has_head);

/// config.json of ResNetForImageClassification. Throws Error(kCheckpoint) for what this network
/// does not have: other activations, strides elsewhere.
ResNetShape resnet_shape_from_config(const nlohmann::json& config, const std::string& origin);
nlohmann::ordered_json config_of(const ResNetShape& shape, std::int64_t num_classes);

}  // namespace kiln
