#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"
#include "core/work.h"

namespace kiln {

/// All trainable tensors of one phase as views into contiguous memory, in buckets, in reverse order
/// of execution, so that backward fills bucket 0 first.
///
/// Flat order: position in [0, size()). Buckets begin at multiples of kBlock. Padding between
/// entries and at a bucket's end is zero and stays zero in weights and gradients.
///
/// Invariants:
/// 1. The flat order depends on the parameters and bucket size alone, not on the number of ranks.
/// 2. A bucket's memory holds a multiple of `ranks` blocks, so that it can be cut into equal
/// slices.
class FlatParameters {
 public:
  /// Elements per block: the unit of fixed-order norms and of slicing.
  static constexpr std::int64_t kBlock = 16'384;

  struct Entry {
    std::string name;
    std::vector<std::int64_t> shape;
    std::int64_t offset = 0;  // in the flat order
    std::int64_t numel = 0;
    std::size_t bucket = 0;
    bool has_decay = true;
    double lr_scale = 1.0;
  };
  struct Bucket {
    Range range;                       // in the flat order; both multiples of kBlock
    std::vector<std::size_t> entries;  // indices into entries(), ascending offset
  };

  /// Moves the parameters' values into flat memory and re-points the parameters at it. Tensors of
  /// bf16 get a separate fp32 master copy; of fp32, master and weights are the same memory.
  FlatParameters(std::vector<Parameter> parameters, std::int64_t bucket_bytes, int ranks);

  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<Bucket>& buckets() const { return buckets_; }
  std::int64_t size() const { return size_; }
  /// The leaf tensors, in the order of entries().
  const std::vector<at::Tensor>& tensors() const { return tensors_; }

  /// 1-D views of a range of the flat order, no copies.
  at::Tensor weights(Range range) const;    // in the model's precision
  at::Tensor gradients(Range range) const;  // same type; what autograd accumulates into

  /// Slice of bucket `index` that rank `rank` of `ranks` owns under sharding.
  Range slice(std::size_t index, int rank, int ranks) const;

 private:
  std::vector<Entry> entries_;
  std::vector<Bucket> buckets_;
  std::vector<at::Tensor> tensors_;
  at::Tensor weights_;
  at::Tensor gradients_;
  std::int64_t size_ = 0;
};

}  // namespace kiln
