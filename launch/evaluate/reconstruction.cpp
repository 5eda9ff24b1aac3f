#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/report/picture.h"
#include "core/torch.h"
#include "data/loader.h"
#include "launch/evaluate/evaluate_autoencoder.h"
#include "launch/evaluate/evaluations.h"
#include "launch/evaluate/features.h"
#include "models/autoencoder/objective.h"
#include "models/capabilities.h"
#include "models/layers/image_input.h"
#include "models/mae/mae.h"

// B samples, L patches in a grid, V visible, M masked, P values of a patch, in [0, 1].

namespace kiln {

namespace {

Reconstructor& reconstructor_of(Objective& objective) {
  auto* reconstructor = dynamic_cast<Reconstructor*>(&objective);
  if (!reconstructor) throw usage_error("this model reconstructs nothing");
  return *reconstructor;
}

/// For every patch of the grid the visible one that is nearest, the first of several: [B, L].
at::Tensor nearest_visible(const at::Tensor& ids_visible, std::int64_t columns,
                           std::int64_t count) {
  const at::Tensor all = at::arange(count);
  const auto row = [&](const at::Tensor& ids) { return at::floor_divide(ids, columns); };
  const auto column = [&](const at::Tensor& ids) { return at::remainder(ids, columns); };
  const at::Tensor visible = std::get<0>(ids_visible.sort(1));
  const auto squared = [&](const auto& part) {
    return (part(all).view({1, count, 1}) - part(visible).unsqueeze(1)).square();
  };
  const at::Tensor distance = squared(row) + squared(column);  // [B, L, V]
  return visible.gather(1, distance.argmin(2));
}

struct Errors {
  double model = 0, mean = 0, nearest = 0;  // sums of squared errors over hidden values
  double count = 0;
};

/// Of the first `count` samples of a batch.
Errors errors_of(const Reconstructor::Pictures& pictures, const at::Tensor& ids_shuffle,
                 const MaeShape& shape, std::int64_t count) {
  const std::int64_t patch = shape.encoder.patch;
  const auto patches = [&](const at::Tensor& images) {
    return patchify(images.narrow(0, 0, count), patch).to(at::kDouble) / 255.0;  // [B, L, P]
  };
  const at::Tensor original = patches(pictures.original);
  const at::Tensor ids = ids_shuffle.narrow(0, 0, count).cpu();
  const at::Tensor visible = ids.narrow(1, 0, shape.num_visible());
  const at::Tensor hidden = ids.narrow(1, shape.num_visible(), shape.num_masked());
  const auto rows = [](const at::Tensor& from, const at::Tensor& which) {
    return from.gather(1, which.unsqueeze(2).expand({-1, -1, from.size(2)}));
  };
  const at::Tensor truth = rows(original, hidden);  // [B, M, P]
  const at::Tensor mean = rows(original, visible).mean(at::IntArrayRef{1, 2}, true);
  const at::Tensor nearest = nearest_visible(visible, shape.encoder.width / patch, ids.size(1));
  const auto squared = [&](const at::Tensor& prediction) {
    return (prediction - truth).square().sum().item<double>();
  };
  return {squared(rows(patches(pictures.reconstructed), hidden)), squared(mean),
          squared(rows(original, nearest.gather(1, hidden))), static_cast<double>(truth.numel())};
}

}  // namespace

Figures evaluate_reconstruction(const Evaluated& evaluated) {
  Reconstructor& reconstructor = reconstructor_of(evaluated.objective);
  auto* mae = dynamic_cast<MaeObjective*>(&evaluated.objective);
  if (dynamic_cast<AutoencoderObjective*>(&evaluated.objective)) {
    return evaluate_autoencoder(evaluated);
  }
  if (!mae) throw usage_error("this model reconstructs nothing");
  const std::int64_t all = evaluated.data.source->num_samples();
  const std::int64_t most = evaluated.recipe.eval.max_samples;
  const std::int64_t count = most > 0 ? std::min(most, all) : all;
  at::Tensor sums = at::zeros({4}, at::kDouble);
  for_each_share(
      *evaluated.data.source, count, evaluated.communicator, evaluated.device,
      evaluated.num_threads, [&](Batch& batch, Range range) {
        batch.first_position = range.begin;
        evaluated.objective.prepare(batch, static_cast<std::uint64_t>(evaluated.recipe.run.seed));
        const auto pictures = reconstructor.reconstruct(batch);
        const Errors errors =
            errors_of(pictures, batch.at("ids_shuffle"), mae->shape(), range.size());
        sums += at::tensor({errors.model, errors.mean, errors.nearest, errors.count}, at::kDouble);
      });
  evaluated.communicator.all_reduce(sums).wait();
  const auto mean = [&](int i) { return sums[i].item<double>() / sums[3].item<double>(); };
  return {{"mse", mean(0)},
          {"mse_visible_mean", mean(1)},
          {"mse_nearest_patch", mean(2)},
          {"samples", static_cast<double>(count)}};
}

at::Tensor reconstruction_picture(const Evaluated& evaluated) {
  Reconstructor& reconstructor = reconstructor_of(evaluated.objective);
  const std::int64_t count =
      std::clamp<std::int64_t>(evaluated.recipe.eval.pictures, 1, evaluated.data.info.num_samples);
  Batch batch = DatasetReader(evaluated.data.source, 1).read(0, count);
  evaluated.objective.prepare(batch, static_cast<std::uint64_t>(evaluated.recipe.run.seed));
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(evaluated.device);
  const auto pictures = reconstructor.reconstruct(batch);
  GridOptions options;
  options.columns = count;
  // Small pictures are enlarged to about 112 pixels, so that one sees them.
  options.scale = std::max<std::int64_t>(1, 112 / pictures.original.size(1));
  options.gap = 1;
  std::vector<at::Tensor> rows = {pictures.original};
  if (pictures.masked.defined()) rows.push_back(pictures.masked);
  rows.push_back(pictures.reconstructed);
  return picture_grid(at::cat(rows).cpu(), options);
}

}  // namespace kiln
