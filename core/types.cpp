#include "core/types.h"

#include "core/base/error.h"

namespace kiln {

const at::Tensor& Batch::at(const std::string& name) const {
  const auto found = tensors.find(name);
  KILN_CHECK(found != tensors.end(), "batch has no tensor '{}'", name);
  return found->second;
}

double StepContext::value(const std::string& name) const {
  const auto found = values.find(name);
  KILN_CHECK(found != values.end(), "there is no schedule '{}' of this step", name);
  return found->second;
}

}  // namespace kiln
