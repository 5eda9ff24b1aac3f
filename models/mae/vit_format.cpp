#include "models/mae/vit_format.h"

#include "core/base/error.h"
#include "models/mae/mae.h"
#include "models/mae/mae_options.h"
#include "models/mae/vit_config.h"
#include "models/mae/vit_names.h"

namespace kiln {
namespace {

MaeObjective& as_mae(Objective& objective) { return dynamic_cast<MaeObjective&>(objective); }

ClassifierObjective& as_classifier(Objective& objective) {
  return dynamic_cast<ClassifierObjective&>(objective);
}

}  // namespace

InterchangeFormat vit_mae_format() {
  InterchangeFormat format;
  format.model_type = "vit_mae";
  format.aliases = vit_mae_aliases();
  format.config = [](Objective& objective) -> nlohmann::ordered_json {
    const auto* mae = dynamic_cast<MaeObjective*>(&objective);
    return mae ? config_of(mae->shape()) : nullptr;
  };
  format.names = [](Objective& objective) { return vit_mae_names(as_mae(objective).shape()); };
  format.preprocessor = [](Objective& objective) {
    const MaeObjective& mae = as_mae(objective);
    return image_processor_config(mae.shape().encoder, mae.pixels());
  };
  format.make = [](const nlohmann::json& config, const nlohmann::json& preprocessor,
                   const std::string& origin) {
    const MaeShape shape = mae_shape_from_config(config, origin);
    InterchangeFormat::Made made;
    made.data = data_from_config(shape.encoder, preprocessor);
    MaeOptions options = MaeOptions::of(shape);
    made.recipe = model_section(options);
    made.objective = std::make_unique<MaeObjective>(
        shape, PixelNormalisation(made.data.mean, made.data.std), at::TensorOptions());
    return made;
  };
  return format;
}

InterchangeFormat vit_classifier_format() {
  InterchangeFormat format;
  format.model_type = "vit";
  format.config = [](Objective& objective) -> nlohmann::ordered_json {
    auto* vit = dynamic_cast<ClassifierObjective*>(&objective);
    if (vit == nullptr) return nullptr;
    const ClassifierShape& shape = vit->network().classifier;
    if (shape.pool != Pool::kCls) {
      throw usage_error(
          "a classifier with model.pool = \"mean\" has no Hugging Face layout; with \"cls\" it "
          "has");
    }
    return config_of(shape);
  };
  format.names = [](Objective& objective) {
    return vit_classifier_names(as_classifier(objective).network().shape);
  };
  format.preprocessor = [](Objective& objective) {
    ClassifierObjective& vit = as_classifier(objective);
    return image_processor_config(vit.network().shape, vit.pixels());
  };
  format.make = [](const nlohmann::json& config, const nlohmann::json& preprocessor,
                   const std::string& origin) {
    const ClassifierShape shape = classifier_shape_from_config(config, origin);
    InterchangeFormat::Made made;
    made.data = data_from_config(shape.encoder, preprocessor);
    ClassifierOptions options = ClassifierOptions::of(shape);
    made.recipe = model_section(options);
    made.objective = std::make_unique<ClassifierObjective>(
        shape, ClassifierLoss{}, PixelNormalisation(made.data.mean, made.data.std),
        at::TensorOptions());
    return made;
  };
  return format;
}

}  // namespace kiln
