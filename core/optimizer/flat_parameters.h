#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/work.h"
#include "core/types.h"

namespace kiln {

/// All trainable tensors of one phase as views into contiguous memory, in buckets, in reverse order
/// of execution, so that backward fills bucket 0 first.
///
/// Flat order: position in [0, size()). Padding between entries and at a bucket's end is zero and
/// stays zero in weights and gradients.
///
/// Invariants:
/// 1. The flat order depends on the parameters and bucket size alone, not on the number of ranks.
/// 2. Buckets begin and end at multiples of kBlock. In memory each is padded to a multiple of
///    `ranks` blocks, so that it can be cut into equal slices.
/// 3. A tensor of kBlock elements or more begins at a multiple of kBlock; a smaller one lies within
///    one block. So a tensor is cut at multiples of kBlock of its own elements, wherever buckets
///    and slices end, and its sums per block (Segment) do not depend on buckets or ranks.
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
    std::optional<double> bound;
    std::int64_t frozen_samples = 0;
    std::int64_t first_sum = 0;  // number of its first segment in the whole model
    std::int64_t num_sums() const { return (numel + kBlock - 1) / kBlock; }
  };
  struct Bucket {
    Range range;                       // in the flat order; both multiples of kBlock
    std::vector<std::size_t> entries;  // indices into entries(), ascending offset
  };
  /// What one tensor has in one block: the unit of all work on flat memory.
  struct Segment {
    std::size_t entry = 0;
    Range range;           // in the flat order
    std::int64_t sum = 0;  // its number, in [0, num_sums()): where its partial sums go
  };

  /// Moves the parameters' values into flat memory and re-points the parameters and their gradients
  /// at it. `parameters` in order of execution; all of one type (fp32 or bf16) and device.
  FlatParameters(std::vector<Parameter> parameters, std::int64_t bucket_bytes, int ranks);

  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<Bucket>& buckets() const { return buckets_; }
  std::int64_t size() const { return size_; }
  std::int64_t num_sums() const { return num_sums_; }
  /// The leaf tensors, in the order of entries().
  const std::vector<at::Tensor>& tensors() const { return tensors_; }

  /// 1-D views of a range of the flat order within one bucket, no copies.
  at::Tensor weights(Range range) const;    // in the model's precision
  at::Tensor gradients(Range range) const;  // same type; what autograd accumulates into

  /// The whole memory of a bucket with its padding, a multiple of `ranks` blocks long: what is
  /// reduce-scattered and gathered in equal parts. Part r is rank r's slice and begins like it.
  at::Tensor bucket_weights(std::size_t index) const;
  at::Tensor bucket_gradients(std::size_t index) const;

  /// Slice of bucket `index` that rank `rank` of `ranks` owns under sharding: its part of the
  /// bucket's memory without the padding at the end, so it may be shorter than others, or empty.
  Range slice(std::size_t index, int rank, int ranks) const;

  /// All segments in a range whose ends are multiples of kBlock, ascending.
  std::vector<Segment> segments(Range range) const;

  void zero_gradients();
  /// Switches requires_grad of all tensors: only one phase at a time trains.
  void require_gradients(bool required);

 private:
  void place(const std::vector<Parameter>& parameters, std::int64_t bucket_elements);
  void close_bucket();
  std::int64_t memory_offset(Range range) const;  // checks that it lies in one bucket

  std::vector<Entry> entries_;
  std::vector<Bucket> buckets_;
  std::vector<Range> memory_;  // of each bucket, padding included
  std::vector<at::Tensor> tensors_;
  at::Tensor weights_;
  at::Tensor gradients_;
  std::int64_t size_ = 0;
  std::int64_t num_sums_ = 0;
  int ranks_ = 1;
};

}  // namespace kiln
