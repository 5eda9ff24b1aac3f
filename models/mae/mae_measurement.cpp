#include "core/torch.h"
#include "models/layers/image_input.h"
#include "models/mae/mae.h"

// B samples, L patches in a grid, V visible, M masked, P values of a patch, in [0, 1].

namespace kiln {
namespace {

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

enum Column : std::int64_t { kModel, kMean, kNearest, kValues, kNumColumns };

/// Sums of squared errors over hidden values of the first `count` samples, and their number.
at::Tensor errors_of(const Reconstructor::Pictures& pictures, const at::Tensor& ids_shuffle,
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
    return (prediction - truth).square().sum();
  };
  return at::stack({squared(rows(patches(pictures.reconstructed), hidden)), squared(mean),
                    squared(rows(original, nearest.gather(1, hidden))),
                    at::full({}, truth.numel(), at::kDouble)});
}

class HiddenPixels final : public Measurement {
 public:
  HiddenPixels(MaeObjective& model, const MeasurementSetup& setup)
      : model_(model), seed_(setup.seed), device_(setup.device) {}

  std::int64_t num_sums(int) const override { return kNumColumns; }
  at::Tensor sums(int, Batch batch, std::int64_t count) override {
    model_.prepare(batch, seed_);
    const at::Tensor ids = batch.at("ids_shuffle");
    for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device_);
    return errors_of(model_.reconstruct(batch), ids, model_.shape(), count);
  }
  void finish_pass(int, const at::Tensor& total) override { total_ = total; }
  Figures figures() const override {
    const auto mean = [&](Column column) {
      return total_[column].item<double>() / total_[kValues].item<double>();
    };
    return {{"mse", mean(kModel)},
            {"mse_visible_mean", mean(kMean)},
            {"mse_nearest_patch", mean(kNearest)}};
  }

 private:
  MaeObjective& model_;
  std::uint64_t seed_;
  at::Device device_;
  at::Tensor total_;
};

}  // namespace

std::unique_ptr<Measurement> MaeObjective::measurement(const std::string& evaluation,
                                                       const MeasurementSetup& setup) {
  if (evaluation != "reconstruct") return nullptr;
  return std::make_unique<HiddenPixels>(*this, setup);
}

}  // namespace kiln
