#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "core/base/error.h"
#include "core/device/recorder.h"
#include "core/torch.h"

namespace kiln {
namespace {

void wait_for(const c10::Stream& first, const c10::Stream& second) {
  c10::Event done(c10::DeviceType::CUDA);
  done.record(first);
  second.wait(done);
}

/// Rehearses and records on one stream of its own: handles and workspaces belong to a stream, and
/// the default one cannot be recorded.
class GraphRecorder final : public Recorder {
 public:
  explicit GraphRecorder(c10::Device device)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  void rehearse(const std::function<void()>& work) override { on_own_stream(work); }

  void record(std::function<void()> work) override {
    on_own_stream([&] {
      stream_.synchronize();
      // Memory belongs to a stream too. The rehearsals' memory is of no use now and is freed.
      c10::cuda::CUDACachingAllocator::emptyCache();
      // Threads that read data may wait for events and pin memory meanwhile, so the capture watches
      // the calls of this thread only. The graph has a memory pool of its own.
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      try {
        work();
        graph_.capture_end();
      } catch (const c10::Error& error) {
        give_up();
        throw usage_error(
            "run.cuda_graph: the model's loss could not be recorded: {}. Set "
            "run.cuda_graph=false",
            error.what_without_backtrace());
      } catch (...) {
        give_up();
        throw;
      }
    });
  }

  void replay() override { graph_.replay(); }

 private:
  void on_own_stream(const std::function<void()>& work) {
    const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream(stream_.device_index());
    wait_for(current, stream_);
    {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      work();
    }
    wait_for(stream_, current);
  }

  // Ends the capture, so that memory can be freed and the error reported. These calls fail too; the
  // first error is the one to report.
  void give_up() {
    cudaGraph_t broken = nullptr;
    (void)cudaStreamEndCapture(stream_.stream(), &broken);
    if (broken) (void)cudaGraphDestroy(broken);
    (void)cudaGetLastError();
  }

  const c10::cuda::CUDAStream stream_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace

std::unique_ptr<Recorder> make_gpu_recorder(c10::Device device) {
  return std::make_unique<GraphRecorder>(device);
}

}  // namespace kiln
