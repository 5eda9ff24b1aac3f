#include "data/views/view_draw.h"

#include <algorithm>
#include <utility>

#include "core/base/philox.h"
#include "data/images/crop.h"

namespace kiln {
namespace {

constexpr std::uint64_t kBlocks = 16;  // per view
constexpr std::uint64_t kChoices = 10, kAmounts = 11, kOrder = 12, kLast = 13;
static_assert(kCropTries <= kChoices && kLast < kBlocks);

bool happens(double probability, std::uint32_t word) {
  return static_cast<double>(Philox::to_unit(word)) < probability;
}

double between(double low, double high, std::uint32_t word) {
  return low + (high - low) * static_cast<double>(Philox::to_unit(word));
}

// Uniform on {0, ..., bound - 1}.
std::size_t below(std::uint64_t bound, std::uint32_t word) {
  return static_cast<std::size_t>(bound * word >> 32);
}

}  // namespace

ViewDraw draw_view(const ViewOptions& options, std::uint64_t seed, std::int64_t position,
                   std::int64_t view, std::int64_t width, std::int64_t height) {
  const Philox stream(seed, Purpose::kAugment, position);
  const std::uint64_t first = kBlocks * static_cast<std::uint64_t>(view);
  ViewDraw draw;
  draw.region = random_resized_crop(stream, width, height, options.scale, options.ratio, first);

  const auto choices = stream.block(first + kChoices);
  draw.is_mirrored = happens(options.flip, choices[0]);
  draw.is_jittered = happens(options.jitter_p, choices[1]);
  draw.is_grey = happens(options.grey, choices[2]);
  const bool is_blurred = happens(options.blur, choices[3]);

  const auto amounts = stream.block(first + kAmounts);
  for (std::size_t i = 0; i < 3; ++i) {
    const double strength = options.jitter[i];
    draw.amounts[i] =
        static_cast<float>(between(std::max(1.0 - strength, 0.0), 1.0 + strength, amounts[i]));
  }
  draw.amounts[3] = static_cast<float>(between(-options.jitter[3], options.jitter[3], amounts[3]));

  // Fisher-Yates.
  const auto order = stream.block(first + kOrder);
  for (std::size_t i = 0; i < 3; ++i) {
    std::swap(draw.order[i], draw.order[i + below(4 - i, order[i])]);
  }
  if (is_blurred) {
    draw.blur_sigma = between(options.blur_sigma[0], options.blur_sigma[1], order[3]);
  }
  draw.is_solarised = happens(options.solarise, stream.block(first + kLast)[0]);
  return draw;
}

}  // namespace kiln
