#pragma once

#include "models/interchange/format.h"

namespace kiln {

InterchangeFormat resnet_format();  // ResNetForImageClassification

}  // namespace kiln
