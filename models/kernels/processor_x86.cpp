#include "models/kernels/processor.h"

namespace kiln {

bool has_avx512() {
  static const bool has = __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has;
}

bool multiplies_bf16() {
  static const bool multiplies = __builtin_cpu_supports("avx512bf16");
  return multiplies;
}

}  // namespace kiln
