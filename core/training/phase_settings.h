#pragma once

#include <string>
#include <vector>

#include "core/objective.h"
#include "core/recipe/recipe.h"
#include "core/recipe/recipe_reader.h"

namespace kiln {

/// What one phase of an objective is trained with.
struct PhaseSettings {
  std::string name;
  OptimizerOptions optimizer;  // lr is set
  double clip_norm = 0.0;
  bool clips_tensors = false;  // each by its own norm
  bool has_own_decay = false;  // so a schedule of the weight decay does not apply
};

/// Reads [optimizer.PHASE] of every phase and [schedule.NAME] of every schedule of the objective
/// into recipe.phases and recipe.schedules. Names that the objective does not have are problems of
/// the reader, one each. To be called before reader.finish().
void read_phase_sections(RecipeReader& reader, Recipe& recipe, const Objective& objective);

/// [optimizer] and [train], then what the objective says of the phase, then the recipe's
/// [optimizer.PHASE]: what comes later counts. `base_lr`: the peak of phases without one of their
/// own. Throws Error(kUsage) for a phase of the recipe that is none, and where lr and lr_factor are
/// both given.
std::vector<PhaseSettings> phase_settings(const Recipe& recipe, const std::vector<Phase>& phases,
                                          double base_lr);

}  // namespace kiln
