#include "core/objective.h"

#include "core/base/error.h"

namespace kiln {

std::optional<Loss> Objective::loss(const Batch&, const StepContext&, std::size_t phase) {
  KILN_CHECK(false, "phase {} has no loss of a single micro-batch", phase);
  return std::nullopt;
}

Rows Objective::embed(const Batch&, const StepContext&, std::size_t phase) {
  KILN_CHECK(false, "phase {} is coupled and has no rows", phase);
  return {};
}

Loss Objective::couple(const Rows&, const StepContext&, std::size_t phase) {
  KILN_CHECK(false, "phase {} is coupled and has no loss", phase);
  return {};
}

std::vector<Buffer> saved_buffers(Objective& objective) {
  std::vector<Buffer> buffers = objective.buffers();
  for (const Average& average : objective.averages()) {
    for (const auto& pair : average.pairs) {
      buffers.push_back({average.name + "/" + pair.name, pair.target});
    }
  }
  return buffers;
}

}  // namespace kiln
