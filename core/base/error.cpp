#include "core/base/error.h"

namespace kiln {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw std::logic_error(fmt::format("internal error at {}:{}: {} does not hold{}{}", file, line,
                                     condition, message.empty() ? "" : ": ", message));
}

}  // namespace kiln
