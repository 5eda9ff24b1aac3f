#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/objective.h"

namespace kiln {

/// Brings the rows of all micro-batches of a step to all ranks, bit for bit, in one collective.
///
///   gather.put(m, rows);    // of each micro-batch of this rank, in any order
///   gather.all();           // every rank calls it
///
/// Every micro-batch has rows of the same names, shapes and types. Ranks with fewer micro-batches
/// than others send padding, which nobody looks at.
///
/// Thread safety: one thread, the one that uses the communicator.
class RowGather {
 public:
  /// `communicator` is for tensors of the device that the rows lie on; `host` has the same ranks.
  RowGather(Communicator& host, Communicator& communicator, std::int64_t num_micro_batches);

  /// Copies the rows: whatever they are views of may go.
  void put(std::int64_t micro_batch, const Rows& rows);
  /// Of all micro-batches, one after the other along the first axis: [M * R, ...], without history.
  Rows all();

 private:
  struct Column {
    std::string name;
    std::vector<std::int64_t> shape;  // of one micro-batch
    at::ScalarType type = at::kFloat;
    std::int64_t offset = 0;  // in a micro-batch's part, bytes
    std::int64_t num_bytes = 0;
  };
  void lay_out(const Rows& rows);
  at::Tensor gathered();  // [M, bytes of a micro-batch], uint8

  Communicator& host_;
  Communicator& communicator_;
  std::int64_t num_micro_batches_;
  std::vector<Column> columns_;
  std::int64_t part_bytes_ = 0;
  std::int64_t most_ = 0;  // micro-batches of the rank that has most
  at::Tensor own_;         // [most_, part_bytes_ / 4] of kFloat: a type that all communicators send
  bool has_compared_ = false;
};

}  // namespace kiln
