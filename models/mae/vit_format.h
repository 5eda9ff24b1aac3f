#pragma once

#include "models/interchange/format.h"

namespace kiln {

InterchangeFormat vit_mae_format();         // ViTMAEForPreTraining
InterchangeFormat vit_classifier_format();  // ViTForImageClassification

}  // namespace kiln
