#include "models/kernels/processor.h"

namespace kiln {

bool has_avx512() { return false; }
bool multiplies_bf16() { return false; }

}  // namespace kiln
