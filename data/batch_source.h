#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/types.h"

namespace kiln {

/// Rows of a dataset as tensors of a batch: images, text windows, sentence pairs, latents.
///
/// Thread safety: all members may be called from several threads; read() with disjoint rows.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual std::int64_t num_samples() const = 0;
  /// Samples that lie together on disk: what a shuffle takes as a block.
  virtual std::int64_t block_samples() const { return num_samples(); }
  /// A batch of `num_samples` rows whose tensors are allocated, not filled.
  virtual Batch allocate(std::int64_t num_samples) const = 0;
  /// Sample ids[i], at position positions_begin + i, into row row_begin + i of the batch. What is
  /// drawn for a sample (crop, flip) depends on its position alone.
  virtual void read(std::span<const std::int64_t> ids, std::int64_t positions_begin, Batch& batch,
                    std::int64_t row_begin) const = 0;
  /// Where a sample lies, for messages: "shard 'x.h5', row 17".
  virtual std::string describe(std::int64_t id) const = 0;
};

}  // namespace kiln
