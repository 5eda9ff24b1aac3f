#include "models/bert/bert_format.h"
#include "models/diffusion/diffusion_format.h"
#include "models/interchange/format.h"
#include "models/mae/vit_format.h"
#include "models/resnet/resnet_format.h"

namespace kiln {

const std::vector<InterchangeFormat>& interchange_formats() {
  static const std::vector<InterchangeFormat> formats = {
      autoencoder_kl_format(), bert_format(),
      vit_classifier_format(), dit_format(),
      resnet_format(),         unet_2d_condition_format(),
      unet_2d_format(),        vit_mae_format(),
      vq_model_format(),
  };
  return formats;
}

}  // namespace kiln
