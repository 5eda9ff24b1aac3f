#include <algorithm>

#include "core/base/error.h"
#include "core/report/picture.h"
#include "core/torch.h"
#include "data/loader.h"
#include "launch/evaluate/evaluations.h"
#include "launch/evaluate/measure.h"
#include "models/capabilities.h"
#include "models/measures/image_quality.h"

// B pictures, H x W pixels, C channels.

namespace kiln {

namespace {

Reconstructor& reconstructor_of(Objective& objective) {
  auto* reconstructor = dynamic_cast<Reconstructor*>(&objective);
  if (!reconstructor) throw usage_error("this model reconstructs nothing");
  return *reconstructor;
}

Reconstructor::Pictures reconstruct(Objective& objective, Batch batch, std::uint64_t seed,
                                    at::Device device) {
  objective.prepare(batch, seed);
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(device);
  return reconstructor_of(objective).reconstruct(batch);
}

/// For models that do not measure their reconstructions themselves.
class PictureErrors final : public Measurement {
 public:
  PictureErrors(Objective& model, const MeasurementSetup& setup) : model_(model), setup_(setup) {}

  std::int64_t num_sums(int) const override { return 3; }
  at::Tensor sums(int, Batch batch, std::int64_t count) override {
    const auto pictures = reconstruct(model_, std::move(batch), setup_.seed, setup_.device);
    const auto unit_range = [&](const at::Tensor& x) {  // [B, C, H, W]
      return x.narrow(0, 0, count).permute({0, 3, 1, 2}).to(at::kDouble) / 255.0;
    };
    const at::Tensor x = unit_range(pictures.original), y = unit_range(pictures.reconstructed);
    return at::stack({(x - y).square().flatten(1).mean(1).sum(), psnr(x, y).sum().to(at::kDouble),
                      ssim(x, y).sum().to(at::kDouble)});
  }
  void finish_pass(int, const at::Tensor& total) override {
    mean_ = total / static_cast<double>(setup_.count);
  }
  Figures figures() const override {
    return {{"mse", mean_[0].item<double>()},
            {"psnr", mean_[1].item<double>()},
            {"ssim", mean_[2].item<double>()}};
  }

 private:
  Objective& model_;
  MeasurementSetup setup_;
  at::Tensor mean_;
};

}  // namespace

Figures evaluate_reconstruction(const Evaluated& evaluated) {
  reconstructor_of(evaluated.objective);
  const MeasurementInput input(evaluated);
  auto* measurable = dynamic_cast<Measurable*>(&evaluated.objective);
  auto measurement = measurable ? measurable->measurement("reconstruct", input.setup) : nullptr;
  if (!measurement) {
    measurement = std::make_unique<PictureErrors>(evaluated.objective, input.setup);
  }
  return run_measurement(*measurement, evaluated);
}

at::Tensor reconstruction_picture(const Evaluated& evaluated) {
  const std::int64_t count =
      std::clamp<std::int64_t>(evaluated.recipe.eval.pictures, 1, evaluated.data.info.num_samples);
  const auto pictures =
      reconstruct(evaluated.objective, DatasetReader(evaluated.data.source, 1).read(0, count),
                  static_cast<std::uint64_t>(evaluated.recipe.run.seed), evaluated.device);
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
