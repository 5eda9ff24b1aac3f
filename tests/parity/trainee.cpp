#include "tests/parity/trainee.h"

#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln::parity {
namespace {

constexpr std::int64_t kBucketBytes = 1 << 18;  // several buckets even for small models

}  // namespace

Trainee::Trainee(std::vector<Parameter> parameters, const OptimizerOptions& options)
    : optimizer_(options), flat_(std::move(parameters), kBucketBytes, 1) {
  flat_.require_gradients(true);
  for (const FlatParameters::Bucket& bucket : flat_.buckets()) {
    Slice slice;
    slice.range = bucket.range;
    slice.segments = flat_.segments(slice.range);
    slice.weights = flat_.weights(slice.range);
    slice.master = slice.weights;
    for (std::size_t i = 0; i < optimizer_.moment_names().size(); ++i) {
      slice.moments.push_back(at::zeros_like(slice.master));
    }
    slices_.push_back(std::move(slice));
  }
}

std::size_t Trainee::index_of(const std::string& name) const {
  const auto found = std::ranges::find(flat_.entries(), name, &FlatParameters::Entry::name);
  KILN_CHECK(found != flat_.entries().end(), "no parameter '{}'", name);
  return static_cast<std::size_t>(found - flat_.entries().begin());
}

void Trainee::set_gradient(const std::string& name, const at::Tensor& gradient) {
  const FlatParameters::Entry& entry = flat_.entries()[index_of(name)];
  flat_.gradients({entry.offset, entry.offset + entry.numel}).copy_(gradient.reshape({-1}));
}

double Trainee::gradient_norm() const {
  BlockSums sums(flat_, 1);
  for (const Slice& slice : slices_) add_squares(slice, flat_.gradients(slice.range), sums);
  return std::sqrt(sums.total(0));
}

std::vector<double> Trainee::gradient_norms() const {
  BlockSums sums(flat_, 1);
  for (const Slice& slice : slices_) add_squares(slice, flat_.gradients(slice.range), sums);
  std::vector<double> norms = sums.by_entry(0);
  for (double& norm : norms) norm = std::sqrt(norm);
  return norms;
}

void Trainee::step(double lr, double clip_norm) {
  step({.lr = lr, .gradient_scale = clip_factor(gradient_norm(), clip_norm)});
}

void Trainee::step(StepScalars scalars) {
  scalars.update = ++num_updates_;
  std::vector<double> ratios;
  if (optimizer_.has_trust_ratio()) {
    BlockSums sums(flat_, 2);
    for (const Slice& slice : slices_) {
      optimizer_.prepare(slice, flat_.gradients(slice.range), flat_, scalars, sums);
    }
    ratios = optimizer_.trust_ratios(flat_, scalars, sums);
  }
  for (const Slice& slice : slices_) {
    optimizer_.step(slice, flat_.gradients(slice.range), flat_, scalars, ratios);
  }
}

at::Tensor Trainee::value(const std::string& name) const {
  return flat_.tensors()[index_of(name)].detach();
}

at::Tensor Trainee::moment(const std::string& name, std::size_t index) const {
  const FlatParameters::Entry& entry = flat_.entries()[index_of(name)];
  const Slice& slice = slices_[entry.bucket];
  return slice.moments[index]
      .narrow(0, entry.offset - slice.range.begin, entry.numel)
      .view(entry.shape);
}

OptimizerOptions adamw_of(const nlohmann::json& info) {
  OptimizerOptions options;
  options.betas = info.at("betas").get<std::vector<double>>();
  options.eps = info.at("eps");
  options.weight_decay = info.at("wd");
  return options;
}

void compare_training(const Case& reference, Report& report, const std::vector<double>& losses,
                      const std::vector<double>& norms) {
  for (const char* suffix : {"", "_f64"}) {
    const bool is_exact = *suffix != '\0' && reference.type == at::kDouble;
    report.compare(std::string("losses") + suffix, at::tensor(losses, at::kDouble),
                   is_exact ? kFloat64Bound : Bound{1e-5, 0.0});
    report.compare(std::string("grad_norms") + suffix, at::tensor(norms, at::kDouble),
                   is_exact ? kFloat64Bound : Bound{0.0, 1e-5});
  }
}

std::vector<std::string> Trainee::names() const {
  std::vector<std::string> names;
  for (const auto& entry : flat_.entries()) names.push_back(entry.name);
  return names;
}

}  // namespace kiln::parity
