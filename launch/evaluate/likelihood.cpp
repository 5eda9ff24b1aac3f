#include "core/base/error.h"
#include "core/torch.h"
#include "launch/evaluate/evaluations.h"
#include "launch/evaluate/measure.h"

// B samples.

namespace kiln {
namespace {

/// Means of what bits() says of the samples, under the names of the figures.
class MeanBits final : public Measurement {
 public:
  MeanBits(Likelihood& model, const MeasurementSetup& setup) : model_(model), setup_(setup) {
    model.begin_likelihood(setup);
    // All ranks know the names of the figures before the first sum, also one without samples.
    read_names(model.bits(setup.data.read(0, 1), setup.seed));
  }

  std::int64_t num_sums(int) const override { return std::ssize(names_); }
  at::Tensor sums(int, Batch batch, std::int64_t count) override {
    const Likelihood::Bits bits = model_.bits(std::move(batch), setup_.seed);
    at::Tensor sums = at::zeros({num_sums(0)}, at::kDouble);
    std::int64_t column = 0;
    const auto add = [&](const at::Tensor& values, double scale) {
      sums[column++] = values.narrow(0, 0, count).to(at::kCPU, at::kDouble).div(scale).sum();
    };
    const auto num_values = static_cast<double>(model_.num_values());
    if (bits.total.defined()) add(bits.total, num_values);
    for (const auto& [name, values] : bits.parts) add(values, num_values);
    for (const auto& [name, values] : bits.others) add(values, 1.0);
    return sums;
  }
  void finish_pass(int, const at::Tensor& total) override { total_ = total; }
  Figures figures() const override {
    Figures figures;
    for (std::int64_t i = 0; i < num_sums(0); ++i) {
      figures[names_[static_cast<std::size_t>(i)]] =
          total_[i].item<double>() / static_cast<double>(setup_.count);
    }
    return figures;
  }

 private:
  void read_names(const Likelihood::Bits& bits) {
    if (bits.total.defined()) names_.push_back("bits_per_value");
    for (const auto& [name, values] : bits.parts) names_.push_back(name + "_bits_per_value");
    for (const auto& [name, values] : bits.others) names_.push_back(name);
  }

  Likelihood& model_;
  MeasurementSetup setup_;
  std::vector<std::string> names_;  // in the order of the sums
  at::Tensor total_;
};

}  // namespace

Figures evaluate_likelihood(const Evaluated& evaluated) {
  auto* model = dynamic_cast<Likelihood*>(&evaluated.objective);
  if (model == nullptr) throw usage_error("this model gives samples no likelihood");
  evaluated.objective.check(evaluated.data.source->allocate(1), evaluated.recipe.eval.path);
  const MeasurementInput input(evaluated);
  MeanBits measurement(*model, input.setup);
  return run_measurement(measurement, evaluated);
}

}  // namespace kiln
