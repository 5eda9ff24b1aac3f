#include <fmt/format.h>

#include "core/base/error.h"
#include "models/contrast/losses.h"
#include "models/layers/init.h"
#include "models/siamese/momentum_objective.h"

namespace kiln {

KeyQueue::KeyQueue(torch::nn::Module& owner, const std::string& name, std::int64_t length,
                   std::int64_t width, const at::TensorOptions& options) {
  const auto wide = options.dtype(options.dtype() == at::kDouble ? at::kDouble : at::kFloat);
  keys_ = owner.register_buffer(name, at::zeros({length, width}, wide));
  pointer_ = owner.register_buffer(name + "_ptr", at::zeros({1}, options.dtype(at::kLong)));
}

void KeyQueue::initialise(std::uint64_t seed, std::size_t index) {
  fill_normal(keys_, 1.0, init_stream(seed, index));
  keys_.copy_(unit_rows(keys_));
}

void KeyQueue::push(const at::Tensor& keys) {
  const std::int64_t length = keys_.size(0), N = keys.size(0);
  KILN_CHECK(length % N == 0, "a queue of {} keys, batches of {}", length, N);
  const std::int64_t first = pointer_.item<std::int64_t>();
  keys_.narrow(0, first, N).copy_(keys);
  pointer_.fill_((first + N) % length);
}

std::vector<std::string> queue_problems(std::int64_t length, std::int64_t global_batch) {
  if (length > 0 && global_batch > 0 && length % global_batch == 0) return {};
  return {
      fmt::format("model.queue = {}: a queue takes whole global batches, so it must be a "
                  "multiple of train.global_batch = {}",
                  length, global_batch)};
}

}  // namespace kiln
