#include "dist/nccl/nccl_communicator.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>

#include "core/base/error.h"
#include "core/on_all_ranks.h"
#include "core/torch.h"
#include "dist/nccl/nccl_check.h"
#include "dist/nccl/nccl_watch.h"
#include "dist/operation.h"

namespace kiln {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kParting{10};

ncclDataType_t nccl_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kLong:
      return ncclInt64;
    default:
      KILN_CHECK(false, "NCCL does not add {}", c10::toString(type));
  }
  return ncclInt8;
}

ncclUniqueId share_unique_id(Communicator& host) {
  ncclUniqueId id{};
  run_on_all_ranks(host, [&] {
    if (host.rank() == 0) KILN_NCCL(ncclGetUniqueId(&id));
  });
  const at::Tensor bytes = at::from_blob(&id, {sizeof(id)}, at::kByte);
  host.broadcast(bytes, 0).wait();
  return id;
}

// NCCL's calls return at once. Their outcome is polled here, so that every wait has an end.
void wait_until_ready(ncclComm_t comm, std::chrono::milliseconds timeout, const char* what) {
  const auto deadline = Clock::now() + timeout;
  ncclResult_t status = ncclInProgress;
  while (true) {
    KILN_NCCL(ncclCommGetAsyncError(comm, &status));
    KILN_NCCL(status);
    if (status == ncclSuccess) return;
    if (Clock::now() > deadline) {
      throw communication_error("NCCL did not get through {} in {} s: not all ranks arrived", what,
                                timeout.count() / 1000);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

ncclComm_t connect(Communicator& host, const NcclOptions& options) {
  const c10::cuda::CUDAGuard device(static_cast<c10::DeviceIndex>(options.device));
  const ncclUniqueId id = share_unique_id(host);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  KILN_NCCL(ncclCommInitRankConfig(&comm, host.size(), id, host.rank(), &config));
  wait_until_ready(comm, options.timeout, "start-up");
  return comm;
}

class NcclWork final : public Work::Impl {
 public:
  NcclWork(std::shared_ptr<NcclWatch> watch, std::shared_ptr<CudaEvent> end)
      : watch_(std::move(watch)), end_(std::move(end)) {}
  void wait() override {
    watch_->check();
    end_->make_wait(c10::cuda::getCurrentCUDAStream());
  }
  bool is_done() override { return end_->is_done(); }

 private:
  std::shared_ptr<NcclWatch> watch_;
  std::shared_ptr<CudaEvent> end_;
};

class NcclCommunicator final : public CommunicatorBase {
 public:
  NcclCommunicator(Communicator& host, const NcclOptions& options)
      : rank_(host.rank()),
        size_(host.size()),
        timeout_(options.timeout),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true,
                                             static_cast<c10::DeviceIndex>(options.device))),
        comm_(connect(host, options)),
        watch_(std::make_shared<NcclWatch>(comm_, rank_, size_, options.timeout)) {
    token_ = at::zeros({1}, at::TensorOptions(stream_.device()).dtype(at::kFloat));
  }

  ~NcclCommunicator() override {
    watch_->close();
    if (watch_->has_failed()) return;  // and has been aborted
    // The last operation may be done here while other ranks still wait for what this rank's threads
    // have to send: aborting at once would leave them waiting. After an error they may never come.
    if (std::uncaught_exceptions() == 0 && has_parted()) {
      ncclCommDestroy(comm_);
    } else {
      ncclCommAbort(comm_);
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string name() const override { return "nccl"; }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  Work submit(Operation operation) override {
    watch_->check();
    const c10::cuda::CUDAGuard device(stream_.device_index());
    CudaEvent begin;
    begin.record(c10::cuda::getCurrentCUDAStream());
    begin.make_wait(stream_);
    keep_memory_until_done(operation);
    start(operation);
    if (operation.kind != Operation::Kind::kTask) wait_until_ready(comm_, timeout_, "a call");
    auto end = std::make_shared<CudaEvent>();
    end->record(stream_);
    // Events recorded into a graph exist only in its replays and cannot be asked.
    const bool is_captured =
        c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
    if (!is_captured) watch_->add(operation, end);
    if (operation.kind == Operation::Kind::kBarrier) wait_on_host(*end);
    return Work(std::make_shared<NcclWork>(watch_, std::move(end)));
  }

  void start(const Operation& operation) {
    const at::Tensor& input = operation.input;
    const at::Tensor& output = operation.output;
    switch (operation.kind) {
      case Operation::Kind::kAllReduce:
        KILN_NCCL(ncclAllReduce(input.data_ptr(), input.data_ptr(), input.numel(),
                                nccl_type(input.scalar_type()), ncclSum, comm_, stream_));
        return;
      case Operation::Kind::kReduceScatter:
        KILN_NCCL(ncclReduceScatter(input.data_ptr(), output.data_ptr(), output.numel(),
                                    nccl_type(input.scalar_type()), ncclSum, comm_, stream_));
        return;
      case Operation::Kind::kAllGather:
        KILN_NCCL(ncclAllGather(input.data_ptr(), output.data_ptr(), input.nbytes(), ncclInt8,
                                comm_, stream_));
        return;
      case Operation::Kind::kBroadcast:
        KILN_NCCL(ncclBroadcast(input.data_ptr(), input.data_ptr(), input.nbytes(), ncclInt8,
                                operation.root, comm_, stream_));
        return;
      case Operation::Kind::kExchange:
        return start_exchange(operation.transfers);
      case Operation::Kind::kBarrier:
        KILN_NCCL(ncclAllReduce(token_.data_ptr(), token_.data_ptr(), 1, ncclFloat32, ncclSum,
                                comm_, stream_));
        return;
      case Operation::Kind::kTask:
        const c10::cuda::CUDAStreamGuard guard(stream_);
        return operation.task();
    }
  }

  void start_exchange(const std::vector<Transfer>& transfers) {
    KILN_NCCL(ncclGroupStart());
    for (const auto& transfer : transfers) {
      const at::Tensor& tensor = transfer.tensor;
      if (transfer.direction == Transfer::Direction::kSend) {
        KILN_NCCL(
            ncclSend(tensor.data_ptr(), tensor.nbytes(), ncclInt8, transfer.peer, comm_, stream_));
      } else {
        KILN_NCCL(
            ncclRecv(tensor.data_ptr(), tensor.nbytes(), ncclInt8, transfer.peer, comm_, stream_));
      }
    }
    KILN_NCCL(ncclGroupEnd());
  }

  // The allocator must not reuse a tensor's memory on the stream that freed it while our stream
  // reads it.
  void keep_memory_until_done(const Operation& operation) {
    const auto keep = [this](const at::Tensor& tensor) {
      if (!tensor.defined()) return;
      c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream_);
    };
    keep(operation.input);
    keep(operation.output);
    for (const auto& transfer : operation.transfers) keep(transfer.tensor);
  }

  // Waits for a while until all ranks have said that they are done; returns whether they have.
  bool has_parted() const {
    const auto deadline = Clock::now() + std::min<std::chrono::milliseconds>(timeout_, kParting);
    ncclResult_t status = ncclCommFinalize(comm_);
    while (status == ncclInProgress && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (ncclCommGetAsyncError(comm_, &status) != ncclSuccess) return false;
    }
    return status == ncclSuccess;
  }

  void wait_on_host(const CudaEvent& end) {
    while (!end.is_done()) {
      watch_->check();
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  const int rank_;
  const int size_;
  const std::chrono::milliseconds timeout_;
  const c10::cuda::CUDAStream stream_;
  const ncclComm_t comm_;
  std::shared_ptr<NcclWatch> watch_;
  at::Tensor token_;  // what a barrier adds up
};

}  // namespace

bool has_nccl() { return true; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, NcclOptions options) {
  return std::make_unique<NcclCommunicator>(host, options);
}

}  // namespace kiln
