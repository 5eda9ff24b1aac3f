#include "launch/generate/encoded_rows.h"

#include <algorithm>

namespace kiln {

std::int64_t samples_per_shard(std::int64_t row_bytes, std::int64_t batch, std::int64_t most,
                               std::int64_t shard_bytes) {
  const std::int64_t samples = std::min(most, shard_bytes / row_bytes);
  return std::max<std::int64_t>(samples / batch, 1) * batch;
}

void append_tensor(ShardWriter& shard, const std::string& field, const at::Tensor& rows) {
  const at::Tensor whole = rows.contiguous();
  shard.append_rows(field,
                    {static_cast<const std::uint8_t*>(whole.const_data_ptr()), whole.nbytes()});
}

}  // namespace kiln
