#pragma once

#include <nlohmann/json.hpp>

#include "core/dataset_info.h"
#include "models/mae/mae.h"
#include "models/vit/vit_classifier.h"

// config.json of ViT models, in the vocabulary of the Hugging Face hub.

namespace kiln {

/// Throws Error(kCheckpoint) naming every key that is missing, of the wrong type or of a value this
/// model cannot follow (another activation, no qkv bias).
MaeShape mae_shape_from_config(const nlohmann::json& config, const std::string& origin);
nlohmann::ordered_json config_of(const MaeShape& shape);

/// preprocessor_config.json: image size and per-channel normalisation.
nlohmann::ordered_json image_processor_config(const VitShape& shape,
                                              const PixelNormalisation& pixels);
/// The data a model of this shape expects. Without preprocessor_config.json pixels are scaled to
/// [-1, 1], the hub's default.
DatasetInfo data_from_config(const VitShape& shape, const nlohmann::json& preprocessor);

/// ViTForImageClassification: the class token is pooled and positions are learned.
ClassifierShape classifier_shape_from_config(const nlohmann::json& config,
                                             const std::string& origin);
nlohmann::ordered_json config_of(const ClassifierShape& shape);

}  // namespace kiln
