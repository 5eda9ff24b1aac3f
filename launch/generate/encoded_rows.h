#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "data/store/shard_writer.h"

namespace kiln {

/// Samples per shard: whole batches, at most `most` and `shard_bytes`, and one batch at least.
std::int64_t samples_per_shard(std::int64_t row_bytes, std::int64_t batch, std::int64_t most,
                               std::int64_t shard_bytes);

/// The rows of a tensor on the host, of the field's type, to a shard.
void append_tensor(ShardWriter& shard, const std::string& field, const at::Tensor& rows);

}  // namespace kiln
