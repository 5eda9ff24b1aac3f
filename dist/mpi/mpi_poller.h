#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "dist/mpi/mpi_inquiry.h"
#include "dist/operation.h"

namespace kiln {

/// Waits for MPI requests of one operation: polls with growing pauses, so that ranks that compute
/// get the shared cores; answers other ranks' inquiries meanwhile; and throws after the time-out
/// with an error that says for whom it waited. Used by the communication thread alone, except where
/// noted.
class MpiPoller {
 public:
  MpiPoller(MPI_Comm comm, std::chrono::milliseconds timeout);

  /// `operation` is under way from now on; its time-out begins.
  void begin(const Operation& operation);
  void end();
  /// Returns when all requests are complete. Request i is with rank peers[i]; empty: a collective.
  /// Throws Error(kCommunication) after the time-out.
  void wait_all(std::vector<MPI_Request>& requests, const std::vector<int>& peers = {});
  /// To be called now and then while no operation is under way.
  void answer_inquiries();

  /// Any thread: `operation` has been called, though it may still be queued.
  void note_called(const Operation& operation);
  /// Any thread: the wait under way, and every later one, throws at once.
  void cancel();

 private:
  using Clock = std::chrono::steady_clock;

  bool are_done(std::vector<MPI_Request>& requests);
  RankStatus own_status() const;
  [[noreturn]] void give_up(std::vector<MPI_Request>& requests, const std::vector<int>& peers);

  const std::chrono::milliseconds timeout_;
  Inquiry inquiry_;
  int rank_ = 0;
  const Operation* operation_ = nullptr;  // under way
  Clock::time_point started_;
  std::atomic<std::int64_t> collectives_called_ = 0;
  std::atomic<bool> is_cancelled_ = false;
};

}  // namespace kiln
