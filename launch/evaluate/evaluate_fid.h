#pragma once

#include "launch/generate/picture_maker.h"
#include "launch/run/result.h"
#include "launch/trained/trained_model.h"

namespace kiln {

struct FidArgs {
  TrainedModelArgs target;  // a generator; its eval.path=... names the real pictures
  PictureOptions pictures;
  std::int64_t num = 2000;          // pictures drawn
  std::string features = "pixels";  // see launch/evaluate/picture_features.h
  bool has_controls = false;
};

/// `kiln eval fid`: draws pictures and holds them against real ones, at most eval.max_samples (0:
/// 50,000) of them, in a feature space. Figures:
///   frechet_distance        called FID only with Inception features
///   precision, recall       on at most 10,000 of either
///   class_accuracy          with classes: of a linear classifier, trained on the real features, on
///                           the pictures, held against the classes they were asked to be
///   frechet_NAME            with controls: of pictures that the model is held against
///                           (ControlGenerator)
/// A model that draws by texts follows those of pictures.context; where that is empty, those beside
/// the latents of the recipe's eval.path or data.path. The real features are kept in RUN/cache.
/// Collective over the ranks it is started on.
CommandResult evaluate_fid(const FidArgs& args);

}  // namespace kiln
