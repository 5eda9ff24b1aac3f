#include "core/base/error.h"
#include "models/kernels/device/device_group_norm.h"
#include "models/kernels/device/device_loops.h"
#include "models/kernels/device/device_maps.h"
#include "models/kernels/device/device_patches.h"
#include "models/kernels/device/device_residual_norm.h"
#include "models/kernels/device/device_softmax.h"

// Stands in for the .cu files in builds without CUDA.

namespace kiln {
namespace {

[[noreturn]] void refuse() {
  KILN_CHECK(false, "a build without CUDA");
  std::abort();
}

}  // namespace

bool has_device_loops() { return false; }
std::int64_t device_group_norm_scratch(std::int64_t, std::int64_t, std::int64_t, std::int64_t) {
  refuse();
}

template <typename T>
void device_bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool, void*) {
  refuse();
}
template <typename T>
void device_gelu_backward(const T*, T*, T*, std::int64_t, bool, void*) {
  refuse();
}
template <typename T>
void device_keep_factors(const DropoutSite&, T*, std::int64_t, void*) {
  refuse();
}
template <typename T>
void device_residual_norm(const ResidualNorm<T>&, const std::optional<DropoutSite>&, std::int64_t,
                          void*) {
  refuse();
}
template <typename T>
void device_residual_norm_backward(const ResidualNorm<T>&, const std::optional<DropoutSite>&,
                                   const T*, const T*, T*, T*, const ResidualNormSums&,
                                   std::int64_t, void*) {
  refuse();
}
template <typename T>
void device_cross_entropy(const T*, const std::int64_t*, std::int64_t, std::int64_t, float*, float*,
                          std::int64_t*, void*) {
  refuse();
}
template <typename T>
void device_cross_entropy_backward(const T*, const std::int64_t*, const float*, const float*, T*,
                                   std::int64_t, std::int64_t, void*) {
  refuse();
}
template <typename T>
void device_group_norm(const GroupNormMaps<T>&, std::int64_t, float*, void*) {
  refuse();
}
template <typename T>
void device_group_norm_backward(const GroupNormMaps<T>&, const T*, T*, float*, float*, float*,
                                std::int64_t, float*, void*) {
  refuse();
}
template <typename T>
void device_copy_columns(const T*, std::int64_t, T*, std::int64_t, std::int64_t, std::int64_t,
                         void*) {
  refuse();
}
template <typename T>
void device_biased_sum(const T*, const T*, const T*, T*, std::int64_t, std::int64_t, void*) {
  refuse();
}
std::int64_t device_column_chunks(std::int64_t, std::int64_t) { refuse(); }
template <typename T>
void device_column_sums(const T*, float*, std::int64_t, std::int64_t, void*) {
  refuse();
}
template <typename T>
void device_weights_to_channels_last(const ConvWeightShape&, const T*, T*, void*) {
  refuse();
}
template <typename T>
void device_weights_from_channels_last(const ConvWeightShape&, const T*, T*, bool, void*) {
  refuse();
}
template <typename T>
void device_masked_patches(const MaskedPatches<T>&, std::int64_t, void*) {
  refuse();
}

#define KILN_INSTANTIATE(T)                                                                       \
  template void device_bias_gelu(T*, const T*, T*, std::int64_t, std::int64_t, bool, void*);      \
  template void device_gelu_backward(const T*, T*, T*, std::int64_t, bool, void*);                \
  template void device_keep_factors(const DropoutSite&, T*, std::int64_t, void*);                 \
  template void device_residual_norm(const ResidualNorm<T>&, const std::optional<DropoutSite>&,   \
                                     std::int64_t, void*);                                        \
  template void device_residual_norm_backward(                                                    \
      const ResidualNorm<T>&, const std::optional<DropoutSite>&, const T*, const T*, T*, T*,      \
      const ResidualNormSums&, std::int64_t, void*);                                              \
  template void device_cross_entropy(const T*, const std::int64_t*, std::int64_t, std::int64_t,   \
                                     float*, float*, std::int64_t*, void*);                       \
  template void device_cross_entropy_backward(const T*, const std::int64_t*, const float*,        \
                                              const float*, T*, std::int64_t, std::int64_t,       \
                                              void*);                                             \
  template void device_group_norm(const GroupNormMaps<T>&, std::int64_t, float*, void*);          \
  template void device_group_norm_backward(const GroupNormMaps<T>&, const T*, T*, float*, float*, \
                                           float*, std::int64_t, float*, void*);                  \
  template void device_copy_columns(const T*, std::int64_t, T*, std::int64_t, std::int64_t,       \
                                    std::int64_t, void*);                                         \
  template void device_biased_sum(const T*, const T*, const T*, T*, std::int64_t, std::int64_t,   \
                                  void*);                                                         \
  template void device_column_sums(const T*, float*, std::int64_t, std::int64_t, void*);          \
  template void device_weights_to_channels_last(const ConvWeightShape&, const T*, T*, void*);     \
  template void device_weights_from_channels_last(const ConvWeightShape&, const T*, T*, bool,     \
                                                  void*);                                         \
  template void device_masked_patches(const MaskedPatches<T>&, std::int64_t, void*)
KILN_INSTANTIATE(float);
KILN_INSTANTIATE(Bf16);

}  // namespace kiln
