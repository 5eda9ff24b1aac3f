#pragma once

#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace kiln {

/// What a rank says of itself when another has waited for it in vain. Fixed size: it travels as
/// bytes.
struct RankStatus {
  std::int64_t collectives_called = 0;
  double waiting_s = 0;     // seconds in the operation under way; 0: no operation is under way
  char operation[64] = {};  // the last one called
  char activity[160] = {};  // what the rank is doing, since when
};

/// Questions and answers beside the operations, so that a time-out can say who is missing and why.
/// Used by the communication thread alone. Every rank answers while its communication thread lives,
/// whatever its other threads do; one that is stopped or cut off does not.
class Inquiry {
 public:
  explicit Inquiry(MPI_Comm parent);

  /// Answers what others have asked; returns at once.
  void answer(const RankStatus& own);
  /// Asks all other ranks and waits at most `patience` for their answers. The entry of this rank is
  /// `own`.
  std::vector<std::optional<RankStatus>> ask(const RankStatus& own,
                                             std::chrono::milliseconds patience);

 private:
  void send(const RankStatus& status, int to, int tag);
  std::optional<RankStatus> receive(int tag, int& from);

  MPI_Comm comm_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace kiln
