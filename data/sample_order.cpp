#include "data/sample_order.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/permutation.h"

namespace kiln {

SampleOrder::SampleOrder(const SampleOrderOptions& options) : options_(options) {
  KILN_CHECK(options.num_samples > 0, "an order of {} samples", options.num_samples);
  std::int64_t& block = options_.block_samples;
  block = std::clamp<std::int64_t>(block, 1, options.num_samples);
  options_.window_blocks = std::max<std::int64_t>(options.window_blocks, 1);
  num_blocks_ = (options.num_samples + block - 1) / block;
  last_block_samples_ = options.num_samples - (num_blocks_ - 1) * block;
}

std::int64_t SampleOrder::at(std::int64_t position) const {
  const std::int64_t epoch = position / options_.num_samples;
  const std::int64_t index = position % options_.num_samples;
  return options_.shuffle ? shuffled(epoch, index) : index;
}

// The epoch lays the blocks out in permuted order; all are equally long but the dataset's last one,
// wherever it came to stand. "Gap" is what it lacks.
std::int64_t SampleOrder::shuffled(std::int64_t epoch, std::int64_t index) const {
  const Philox stream(options_.seed, Purpose::kOrder, epoch);
  const Permutation blocks(stream, 0, num_blocks_);
  const std::int64_t block = options_.block_samples;
  const std::int64_t short_place = blocks.inverse(num_blocks_ - 1);
  const std::int64_t gap = block - last_block_samples_;

  // Which window of places holds `index`: windows are equally long but the one with the short
  // block.
  const std::int64_t window_samples = options_.window_blocks * block;
  const std::int64_t short_window = short_place / options_.window_blocks;
  const std::int64_t after_short = (short_window + 1) * window_samples - gap;
  const std::int64_t window = (index < after_short ? index : index + gap) / window_samples;
  const std::int64_t begin = window * window_samples - (window > short_window ? gap : 0);
  const std::int64_t end = std::min(
      (window + 1) * window_samples - (window >= short_window ? gap : 0), options_.num_samples);

  // Within it, samples change places.
  const Permutation samples(stream, static_cast<std::uint64_t>(window) + 1, end - begin);
  const std::int64_t offset = samples.at(index - begin);

  // Which block of the window, and which sample of the block, stands at that offset.
  const std::int64_t first_place = window * options_.window_blocks;
  const std::int64_t short_end = (short_place - first_place + 1) * block - gap;
  const bool is_after_short = window == short_window && offset >= short_end;
  const std::int64_t padded = is_after_short ? offset + gap : offset;
  return blocks.at(first_place + padded / block) * block + padded % block;
}

}  // namespace kiln
