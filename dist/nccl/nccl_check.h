#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace kiln {

/// Throw Error(kCommunication) with the library's own text.
void check_cuda(cudaError_t status, const char* call);
void check_nccl(ncclResult_t status, const char* call);

/// An event without timing, destroyed with its owner.
class CudaEvent {
 public:
  CudaEvent();
  ~CudaEvent();
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  void record(cudaStream_t stream);
  void make_wait(cudaStream_t stream) const;
  bool is_done() const;

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace kiln

#define KILN_CUDA(call) ::kiln::check_cuda(call, #call)
#define KILN_NCCL(call) ::kiln::check_nccl(call, #call)
