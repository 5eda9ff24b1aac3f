#pragma once

#include "models/diffusion/formulation.h"
#include "models/interchange/format.h"

// Folders of diffusers: U-Nets and transformers. They come with a scheduler_config.json beside them,
// which tells how they were trained.

namespace kiln {

InterchangeFormat unet_2d_format();
InterchangeFormat unet_2d_condition_format();
InterchangeFormat dit_format();

/// The scheduler of diffusers that samples from a model trained like this; null: there is none.
nlohmann::ordered_json scheduler_config(const FormulationOptions& options);
/// Throws Error(kCheckpoint) for schedulers that cannot be followed. Null gives the defaults.
FormulationOptions formulation_from_scheduler(const nlohmann::json& config,
                                              const std::string& origin);

}  // namespace kiln
