#include "core/error.h"
#include "models/kernels/device_loops.h"

// Stands in for device_loops.cu in builds without CUDA.

namespace kiln {

bool has_device_loops() { return false; }

template <typename T>
void device_bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool, void*) {
  KILN_CHECK(false, "a build without CUDA");
}
template <typename T>
void device_gelu_backward(const T*, T*, T*, std::int64_t, bool, void*) {
  KILN_CHECK(false, "a build without CUDA");
}
template <typename T>
void device_residual_norm(const ResidualNorm<T>&, const std::optional<DropoutSite>&, std::int64_t,
                          void*) {
  KILN_CHECK(false, "a build without CUDA");
}
template <typename T>
void device_residual_norm_backward(const ResidualNorm<T>&, const std::optional<DropoutSite>&,
                                   const T*, const T*, T*, T*, const ResidualNormSums&,
                                   std::int64_t, void*) {
  KILN_CHECK(false, "a build without CUDA");
}

#define KILN_INSTANTIATE(T)                                                                     \
  template void device_bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool, void*);    \
  template void device_gelu_backward(const T*, T*, T*, std::int64_t, bool, void*);              \
  template void device_residual_norm(const ResidualNorm<T>&, const std::optional<DropoutSite>&, \
                                     std::int64_t, void*);                                      \
  template void device_residual_norm_backward(                                                  \
      const ResidualNorm<T>&, const std::optional<DropoutSite>&, const T*, const T*, T*, T*,    \
      const ResidualNormSums&, std::int64_t, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);

}  // namespace kiln
