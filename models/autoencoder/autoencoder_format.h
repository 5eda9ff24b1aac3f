#pragma once

#include <vector>

#include "models/interchange/format.h"

namespace kiln {

/// AutoencoderKL and VQModel of diffusers.
std::vector<InterchangeFormat> autoencoder_formats();

}  // namespace kiln
