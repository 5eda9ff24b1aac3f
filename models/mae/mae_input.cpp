#include "models/mae/mae_input.h"

#include "core/torch.h"
#include "models/kernels/device/device_patches.h"
#include "models/operators/host_tensors.h"

namespace kiln {
namespace {

bool runs_on_device(const at::Tensor& images, const PixelNormalisation& pixels,
                    at::ScalarType type) {
  constexpr std::int64_t kMost = MaskedPatches<float>::kMostChannels;
  const std::int64_t C = images.size(3);
  const auto fits = static_cast<std::int64_t>(pixels.scale().size());
  return images.scalar_type() == at::kByte && C <= kMost && (fits == 1 || fits == C) &&
         runs_in_device_loops(at::empty({0}, at::device(images.device()).dtype(type)));
}

template <typename T>
MaskedPatches<T> work_of(const at::Tensor& images, const at::Tensor& ids, const MaeShape& shape,
                         const PixelNormalisation& pixels, const MaeInput& out) {
  MaskedPatches<T> work;
  work.grid = {images.size(2), images.size(3), shape.encoder.patch};
  work.image_values = images.stride(0);
  work.patches = ids.size(1);
  work.num_visible = shape.num_visible();
  for (std::size_t c = 0; c < static_cast<std::size_t>(images.size(3)); ++c) {
    const std::size_t k = pixels.scale().size() == 1 ? 0 : c;
    work.scale[c] = static_cast<float>(pixels.scale()[k]);
    work.shift[c] = static_cast<float>(pixels.shift()[k]);
  }
  work.has_normalised_targets = shape.has_normalised_targets;
  work.images = images.const_data_ptr<std::uint8_t>();
  work.ids = ids.const_data_ptr<std::int64_t>();
  work.visible = host_data<T>(out.visible);
  work.target = out.target.data_ptr<float>();
  return work;
}

}  // namespace

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& ids) {
  const std::int64_t B = x.size(0), L = x.size(1), P = x.size(2);
  const at::Tensor first = at::arange(B, ids.options()).mul_(L).unsqueeze(1);  // [B, 1]
  return x.reshape({B * L, P}).index_select(0, (ids + first).view({-1})).view({B, ids.size(1), P});
}

at::Tensor shuffled_patches(const at::Tensor& images, const at::Tensor& ids_shuffle,
                            const MaeShape& shape, const PixelNormalisation& pixels) {
  const at::Tensor all = patchify(images, shape.encoder.patch);
  return pixels.normalise(gather_rows(all, ids_shuffle));
}

MaeInput plain_mae_input(const at::Tensor& images, const at::Tensor& ids_shuffle,
                         const MaeShape& shape, const PixelNormalisation& pixels,
                         at::ScalarType type) {
  const at::Tensor shuffled = shuffled_patches(images, ids_shuffle, shape, pixels);
  const std::int64_t V = shape.num_visible();
  return {shuffled.narrow(1, 0, V).to(type),
          mae_target(shuffled.narrow(1, V, shape.num_masked()), shape.has_normalised_targets)};
}

MaeInput mae_input(const at::Tensor& images, const at::Tensor& ids_shuffle, const MaeShape& shape,
                   const PixelNormalisation& pixels, at::ScalarType type) {
  if (!runs_on_device(images, pixels, type)) {
    return plain_mae_input(images, ids_shuffle, shape, pixels, type);
  }
  const at::Tensor in = images.contiguous(), ids = ids_shuffle.contiguous();
  const std::int64_t B = in.size(0), P = shape.encoder.patch_values();
  const auto options = at::device(in.device());
  const MaeInput out{at::empty({B, shape.num_visible(), P}, options.dtype(type)),
                     at::empty({B, shape.num_masked(), P}, options.dtype(at::kFloat))};
  with_host_type(out.visible, [&](auto zero) {
    device_masked_patches(work_of<decltype(zero)>(in, ids, shape, pixels, out), B,
                          device_stream(in));
  });
  return out;
}

}  // namespace kiln
