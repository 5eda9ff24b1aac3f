#pragma once

#include "models/interchange/format.h"

namespace kiln {

InterchangeFormat vit_mae_format();  // ViTMAEForPreTraining

}  // namespace kiln
