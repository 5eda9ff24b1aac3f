#include "core/optimizer/flat_backward.h"

#include <memory>

namespace kiln {
namespace {

// LibTorch carries what is registered here over to its threads of backward. It has no kind for
// users; this one is meant for inference, where there is no backward.
constexpr auto kKind = c10::DebugInfoKind::INFERENCE_CONTEXT;

struct Mark : c10::DebugInfoBase {};

}  // namespace

FlatBackward::FlatBackward() : guard_(kKind, std::make_shared<Mark>()) {}

bool FlatBackward::is_running() {
  return dynamic_cast<const Mark*>(c10::ThreadLocalDebugInfo::get(kKind)) != nullptr;
}

}  // namespace kiln
