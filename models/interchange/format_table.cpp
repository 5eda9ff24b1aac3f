#include "models/interchange/bert_format.h"
#include "models/interchange/format.h"
#include "models/interchange/vit_format.h"

namespace kiln {

const std::vector<InterchangeFormat>& interchange_formats() {
  static const std::vector<InterchangeFormat> formats = {
      bert_format(),
      vit_classifier_format(),
      vit_mae_format(),
  };
  return formats;
}

}  // namespace kiln
