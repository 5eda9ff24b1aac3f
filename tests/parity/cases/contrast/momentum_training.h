#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "models/siamese/momentum_objective.h"
#include "tests/parity/cases/contrast/coupled.h"

namespace kiln::parity {

/// What the cases of a momentum encoder differ in. They store several steps.
struct MomentumCase {
  MomentumObjective* objective = nullptr;
  OptimizerOptions optimizer;
  std::vector<NameAlias> aliases;  // their names to ours
  /// Batch of step "stepI", without shuffle.
  std::map<std::string, std::string> views;  // "image.0": "query"
  /// Rows of a step that are stored: "q.0": "q".
  std::map<std::string, std::string> rows;
  /// Buffers [K, D] stored after each step as [D, K]; all with the pointer "queue_ptr".
  std::map<std::string, std::string> queues;
};

/// Runs all steps from the stored weights, and compares losses, norms, rows, queues, the average
/// network and the state after the last step. The average moves at the end of a step, by the
/// momentum of the next, as the engine has it.
void run_momentum_training(Case& reference, const MomentumCase& momentum_case, Report& report);

/// The transformer of a case's settings, with positions that are no parameter unless `is_learned`.
VitShape vit_of(const nlohmann::json& settings, bool is_learned);

}  // namespace kiln::parity
