#include <cmath>
#include <numbers>

#include "core/base/philox.h"
#include "models/layers/parameters.h"
#include "models/layers/workload.h"
#include "tests/support/toy_family/toy_twins.h"

// What commands ask of a ToyTwins beside its loss, and its row of the table of models.

namespace kiln::test {
namespace {

/// [model].
struct ToyTwinsOptions {
  std::string name = "toy_twins";
  std::int64_t dim = 16;
  double temperature = 0.2;
  double teacher_decay = 0.9;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model: a row of the table of models.", kIdentity);
    visit("dim", dim, "Width of the rows.", kIdentity);
    visit("temperature", temperature, "Of the contrast.", kIdentity);
    visit("teacher_decay", teacher_decay, "Per step.", kIdentity);
  }
};

/// [draw].
struct ToyDrawing {
  double noise = 1.0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("noise", noise, "Factor of the standard deviation of pixels.", kExecution);
  }
};

std::unique_ptr<Objective> make_toy_twins(RecipeReader& reader, const Recipe& recipe,
                                          const DatasetInfo& data) {
  ToyTwinsOptions options;
  reader.read("model", options);
  if (options.dim < 1) reader.problem("model.dim must be positive");
  if (options.dim < 1) return nullptr;
  const ToyTwinsShape shape{.height = data.height,
                            .width = data.width,
                            .channels = data.channels,
                            .dim = options.dim,
                            .classes = std::ssize(data.class_names),
                            .temperature = options.temperature,
                            .teacher_decay = options.teacher_decay};
  return std::make_unique<ToyTwins>(shape, at::TensorOptions(weights_type(recipe)),
                                    static_cast<std::uint64_t>(recipe.run.seed));
}

class Alignment final : public Measurement {
 public:
  Alignment(ToyTwins& model, const MeasurementSetup& setup) : model_(model), setup_(setup) {}
  std::int64_t num_sums(int) const override { return 1; }
  at::Tensor sums(int, Batch batch, std::int64_t count) override {
    const at::Tensor image = batch.at("image").to(setup_.device);
    const at::Tensor mirrored =
        model_.features({.tensors = {{"image", image.flip({2})}}}, "teacher");
    const at::Tensor own = model_.features({.tensors = {{"image", image}}}, "encoder");
    const at::Tensor cosines = (own * mirrored).sum(1);
    return cosines.narrow(0, 0, count).to(at::kCPU, at::kDouble).sum().view({1});
  }
  void finish_pass(int, const at::Tensor& total) override { total_ = total; }
  Figures figures() const override {
    return {{"alignment", total_[0].item<double>() / static_cast<double>(setup_.count)}};
  }

 private:
  ToyTwins& model_;
  MeasurementSetup setup_;
  at::Tensor total_;
};

}  // namespace

at::Tensor ToyTwins::features(const Batch& batch, const std::string& pooling) {
  const at::NoGradGuard no_grad;
  return rows(batch.at("image"), pooling == "teacher" ? network_->teacher : network_->encoder);
}

std::unique_ptr<Measurement> ToyTwins::measurement(const std::string& evaluation,
                                                   const MeasurementSetup& setup) {
  if (evaluation != "twins") return nullptr;
  return std::make_unique<Alignment>(*this, setup);
}

void ToyTwins::configure_drawing(RecipeReader& reader, std::uint64_t seed) {
  ToyDrawing drawing;
  reader.read("draw", drawing);
  reader.finish();
  noise_ = drawing.noise;
  drawing_seed_ = seed;
}

nlohmann::json ToyTwins::chosen_drawing() const { return {{"noise", noise_}}; }

std::vector<std::int64_t> ToyTwins::drawn_shape() const {
  return {shape_.height, shape_.width, shape_.channels};
}

at::Tensor ToyTwins::draw(std::int64_t first, std::int64_t count, const Conditions& conditions) {
  const at::NoGradGuard no_grad;
  const at::Tensor noise = at::empty({count, shape_.pixels()}, at::kFloat);
  for (std::int64_t i = 0; i < count; ++i) {
    fill_normal(Philox(drawing_seed_, Purpose::kSampling, first + i),
                noise.data_ptr<float>() + i * shape_.pixels(), shape_.pixels());
  }
  const at::Tensor label = at::tensor(conditions.classes, at::kLong).to(network_->means.device());
  const auto rows_of = [&](const at::Tensor& table) {
    return table.index_select(0, label).to(at::kCPU, at::kFloat);
  };
  const at::Tensor x =
      rows_of(network_->means) + noise * (rows_of(network_->log_variance) * 0.5).exp() * noise_;
  return x.add(1.0).mul(127.5).round_().clamp_(0, 255).to(at::kByte).view(
      {count, shape_.height, shape_.width, shape_.channels});
}

ToyTwins::Bits ToyTwins::bits(Batch batch, std::uint64_t) {
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : batch.tensors) tensor = tensor.to(network_->means.device());
  const at::Tensor label = batch.at("label").to(at::kLong);
  const at::Tensor log_variance =
      network_->log_variance.index_select(0, label).to(at::kDouble).sum(1).mul(0.5);
  Bits result;
  result.total = pixel_losses(batch.at("image"), label).to(at::kDouble).sum(1) / std::numbers::ln2;
  result.parts["variance"] = log_variance / std::numbers::ln2;
  return result;
}

Workload::Work ToyTwins::work(const Batch& like) {
  std::vector<Parameter> all = parameters(0);
  for (Parameter& parameter : parameters(1)) all.push_back(std::move(parameter));
  WorkList list(all);
  list.product("encoder", like.num_samples, shape_.pixels(), shape_.dim);
  list.freeze();
  list.product("teacher", like.num_samples, shape_.pixels(), shape_.dim);
  return std::move(list).work();
}

std::vector<ModelEntry> toy_models() {
  return {{.name = "toy_twins",
           .data_kind = "image",
           .summary = "Two views that find each other, and pixels by class.",
           .make = make_toy_twins,
           .takes_views = true,
           .evaluations = {{"twins", "how well held-out samples and their mirror images agree"}},
           .drawing = option_docs<ToyDrawing>}};
}

}  // namespace kiln::test
