#pragma once

#include <memory>

#include "core/dataset_info.h"
#include "data/batch_source.h"
#include "data/store/dataset.h"

namespace kiln {

/// What a model needs to know of a dataset of latents. Throws Error(kData) if it has no float16
/// field "moments" [2C, H, W]: mean and log-variance of an encoder, as `kiln encode` writes them.
DatasetInfo describe_latents(const Dataset& dataset);

/// "moments" float16 [B, 2C, H, W] and, if the dataset has them, "label" int64 [B] and "context"
/// float16 [B, S, E], S tokens of width E of a text.
std::shared_ptr<const BatchSource> make_latent_source(std::shared_ptr<const Dataset> dataset);

}  // namespace kiln
