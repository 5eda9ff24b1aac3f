#include "core/base/error.h"
#include "dist/nccl/nccl_communicator.h"

namespace kiln {

bool has_nccl() { return false; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, NcclOptions) {
  throw usage_error(
      "this program was built without NCCL and cannot train on several GPUs: build it where nvcc "
      "and "
      "nccl.h are found, or set run.device = \"cpu\"");
}

}  // namespace kiln
