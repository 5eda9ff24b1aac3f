#include "dist/nccl/nccl_watch.h"

#include <fmt/ranges.h>

#include <utility>

#include "core/base/error.h"
#include "dist/flight_recorder.h"

namespace kiln {
namespace {

constexpr std::chrono::milliseconds kPoll{50};

}  // namespace

NcclWatch::NcclWatch(ncclComm_t comm, int rank, int size, std::chrono::milliseconds timeout)
    : comm_(comm), rank_(rank), size_(size), timeout_(timeout), thread_([this] { run(); }) {}

void NcclWatch::close() {
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void NcclWatch::add(const Operation& operation, std::shared_ptr<CudaEvent> end) {
  record_called(FlightLane::kDevice, operation);
  const std::lock_guard lock(mutex_);
  if (operations_.empty()) oldest_since_ = Clock::now();
  operations_.push_back({operation, std::move(end)});
}

void NcclWatch::check() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

bool NcclWatch::has_failed() {
  const std::lock_guard lock(mutex_);
  return error_ != nullptr;
}

void NcclWatch::run() {
  std::unique_lock lock(mutex_);
  while (!is_closed_ && !error_) {
    try {
      look();
    } catch (const std::exception& error) {
      fail(error.what());
    }
    changed_.wait_for(lock, kPoll, [this] { return is_closed_; });
  }
}

void NcclWatch::look() {
  while (!operations_.empty() && operations_.front().end->is_done()) {
    record_done(FlightLane::kDevice, operations_.front().operation);
    operations_.pop_front();
    oldest_since_ = Clock::now();
  }
  ncclResult_t status = ncclSuccess;
  KILN_NCCL(ncclCommGetAsyncError(comm_, &status));
  if (status != ncclSuccess && status != ncclInProgress) {
    return fail(fmt::format("NCCL: {} ({})", ncclGetErrorString(status), ncclGetLastError(comm_)));
  }
  if (!operations_.empty() && Clock::now() - oldest_since_ > timeout_) {
    const auto behind = explain_ranks_behind(FlightLane::kDevice, size_);
    fail(fmt::format(
        "rank {} waited {} s in {} on the GPU: {}", rank_, timeout_.count() / 1000,
        operations_.front().operation.describe(),
        behind.empty() ? "not all ranks arrived" : fmt::format("{}", fmt::join(behind, "; "))));
  }
}

// Aborting ends kernels that wait for other ranks. Then the streams finish their work, and host
// threads that wait for a stream return.
void NcclWatch::fail(const std::string& reason) {
  error_ = std::make_exception_ptr(Error(ExitCode::kCommunication, reason));
  ncclCommAbort(comm_);
}

}  // namespace kiln
