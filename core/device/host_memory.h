#pragma once

#include <cstdint>

namespace kiln {

/// Makes LibTorch keep the large blocks of host memory that a step frees for the next step, in huge
/// pages where the kernel grants them. Otherwise the C library hands each of them back to the
/// kernel, which clears every page again at its next use: 5 to 15 % of a step on a CPU.
///
/// Used and free blocks together are at most twice as much as was ever in use at once. Call once,
/// early in main.
void keep_host_memory();

struct HostMemory {
  std::int64_t used_bytes = 0;      // in large blocks that tensors hold
  std::int64_t reserved_bytes = 0;  // in large blocks that are free
};
HostMemory host_memory();

}  // namespace kiln
