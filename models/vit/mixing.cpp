#include "models/vit/mixing.h"

#include <algorithm>
#include <cmath>

#include "core/torch.h"

namespace kiln {
namespace {

// Numbers of a stream: which kind, the box's centre, then the pairs that the share is drawn from.
constexpr std::uint64_t kKind = 0, kRow = 1, kColumn = 2, kShare = 4;

void place_box(Mixing& mixing, const Philox& stream, std::int64_t height, std::int64_t width) {
  const double side = std::sqrt(1.0 - mixing.share);
  const auto span = [&](std::int64_t length, float centre, std::int64_t& begin, std::int64_t& end) {
    const auto half = static_cast<std::int64_t>(side * static_cast<double>(length)) / 2;
    const auto middle = static_cast<std::int64_t>(centre * static_cast<float>(length));
    begin = std::max<std::int64_t>(middle - half, 0);
    end = std::min(middle + half, length);
  };
  span(height, stream.uniform(kRow), mixing.top, mixing.bottom);
  span(width, stream.uniform(kColumn), mixing.left, mixing.right);
  mixing.has_box = true;
  // The box may have been cut at the border: the share is what is really left.
  const auto area =
      static_cast<double>((mixing.bottom - mixing.top) * (mixing.right - mixing.left));
  mixing.share = 1.0 - area / static_cast<double>(height * width);
}

}  // namespace

double draw_beta(double alpha, const Philox& stream, std::uint64_t first) {
  for (std::uint64_t number = first;; number += 2) {
    const double x = std::pow(1.0 - stream.uniform(number), 1.0 / alpha);
    const double y = std::pow(1.0 - stream.uniform(number + 1), 1.0 / alpha);
    if (x + y <= 1.0 && x + y > 0.0) return x / (x + y);
  }
}

Mixing draw_mixing(const MixingOptions& options, const Philox& stream, std::int64_t height,
                   std::int64_t width) {
  Mixing mixing;
  if (options.mixup <= 0.0 && options.cutmix <= 0.0) return mixing;
  const bool is_cutmix =
      options.cutmix > 0.0 && (options.mixup <= 0.0 || stream.uniform(kKind) < 0.5f);
  mixing.share = draw_beta(is_cutmix ? options.cutmix : options.mixup, stream, kShare);
  if (is_cutmix) place_box(mixing, stream, height, width);
  return mixing;
}

at::Tensor Mixing::images(const at::Tensor& x) const {
  if (share == 1.0) return x;
  if (!has_box) return x * share + x.flip(0) * (1.0 - share);
  const at::Tensor mixed = x.clone();
  const auto box = [&](const at::Tensor& image) {
    return image.narrow(1, top, bottom - top).narrow(2, left, right - left);
  };
  box(mixed).copy_(box(x.flip(0)));
  return mixed;
}

at::Tensor Mixing::targets(const at::Tensor& y) const {
  return share == 1.0 ? y : y * share + y.flip(0) * (1.0 - share);
}

}  // namespace kiln
