#include "dist/nccl/nccl_check.h"

#include "core/base/error.h"

namespace kiln {

void check_cuda(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw communication_error("{} failed: {}", call, cudaGetErrorString(status));
}

// A non-blocking communicator answers "in progress" where a blocking one would wait.
void check_nccl(ncclResult_t status, const char* call) {
  if (status == ncclSuccess || status == ncclInProgress) return;
  throw communication_error("{} failed: {}", call, ncclGetErrorString(status));
}

CudaEvent::CudaEvent() { KILN_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }

CudaEvent::~CudaEvent() { cudaEventDestroy(event_); }

void CudaEvent::record(cudaStream_t stream) { KILN_CUDA(cudaEventRecord(event_, stream)); }

void CudaEvent::make_wait(cudaStream_t stream) const {
  KILN_CUDA(cudaStreamWaitEvent(stream, event_, 0));
}

bool CudaEvent::is_done() const {
  const cudaError_t status = cudaEventQuery(event_);
  if (status == cudaErrorNotReady) return false;
  KILN_CUDA(status);
  return true;
}

}  // namespace kiln
