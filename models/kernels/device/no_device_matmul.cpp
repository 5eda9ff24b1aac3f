#include "models/kernels/device/device_matmul.h"

// Stands in for device_matmul.cpp in builds without CUDA or cuBLASLt.

namespace kiln {

bool device_matmul(const MatmulShape&, const MatmulOperands&) { return false; }

}  // namespace kiln
