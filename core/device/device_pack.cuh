#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/base/philox.h"

namespace kiln {

/// Neighbours in memory that one instruction loads or stores: of 8 or 16 bytes, at addresses that
/// are multiples of that.
template <typename T, int kCount>
struct alignas(kCount * sizeof(T)) Pack {
  T at[kCount];
};

template <typename T, int kCount>
KILN_HOST_DEVICE inline Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}
template <typename T, int kCount>
KILN_HOST_DEVICE inline void store_pack(T* to, const Pack<T, kCount>& pack) {
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

/// Elements of the widest pack.
template <typename T>
inline constexpr int kWidest = 16 / sizeof(T);

/// True of null as well.
KILN_HOST_DEVICE inline bool is_aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

inline bool are_aligned(std::initializer_list<const void*> pointers, std::uintptr_t bytes) {
  for (const void* pointer : pointers) {
    if (!is_aligned(pointer, bytes)) return false;
  }
  return true;
}

}  // namespace kiln
