#include "core/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/device/device_copies.h"
#include "core/device/in_parallel.h"
#include "core/optimizer/optimizer_gpu.h"
#include "core/optimizer/optimizer_tensors.h"
#include "core/torch.h"

namespace kiln {
namespace {

using Segment = FlatParameters::Segment;

// Segments per task: about 64,000 elements, some tens of microseconds.
constexpr std::int64_t kGrain = 4;

template <typename Function>
void for_each_segment(const Slice& slice, const Function& function) {
  in_parallel(static_cast<std::int64_t>(slice.segments.size()), kGrain,
              [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) {
                  function(slice.segments[static_cast<std::size_t>(i)]);
                }
              });
}

struct RuleName {
  const char* name;
  Rule rule;
  std::vector<std::string> moments;
};
const std::vector<RuleName>& rule_names() {
  static const std::vector<RuleName> all = {
      {"adamw", Rule::kAdamW, {"exp_avg", "exp_avg_sq"}},
      {"adam", Rule::kAdam, {"exp_avg", "exp_avg_sq"}},
      {"adamax", Rule::kAdamax, {"exp_avg", "exp_inf"}},
      {"rmsprop", Rule::kRmsprop, {"square_avg"}},
      {"bert_adam", Rule::kUncorrectedAdam, {"exp_avg", "exp_avg_sq"}},
      {"lamb", Rule::kLamb, {"exp_avg", "exp_avg_sq"}},
      {"lars", Rule::kLars, {"momentum_buffer"}},
      {"larc", Rule::kLarc, {"momentum_buffer"}},
      {"sgd", Rule::kSgd, {"momentum_buffer"}}};
  return all;
}

const RuleName& rule_named(const std::string& name) {
  for (const RuleName& known : rule_names()) {
    if (known.name == name) return known;
  }
  throw usage_error("{}", unknown_name("optimizer.name", name, Optimizer::names()));
}

bool is_momentum(Rule rule) {
  return rule == Rule::kLars || rule == Rule::kLarc || rule == Rule::kSgd;
}

float* data_or_null(const at::Tensor& tensor, std::int64_t offset) {
  return tensor.defined() ? tensor.data_ptr<float>() + offset : nullptr;
}

void check_slices(std::span<const Slice> slices, std::span<const at::Tensor> gradients) {
  KILN_CHECK(slices.size() == gradients.size());
  for (std::size_t i = 0; i < slices.size(); ++i) {
    for (const at::Tensor* tensor : {&slices[i].master, &gradients[i]}) {
      KILN_CHECK(tensor->scalar_type() == at::kFloat && tensor->is_contiguous() &&
                 tensor->numel() == slices[i].range.size());
    }
  }
}

SegmentMemory memory_of(const Slice& slice, const Segment& segment, const at::Tensor& gradient,
                        const StepScalars& scalars) {
  const std::int64_t offset = segment.range.begin - slice.range.begin;
  SegmentMemory memory;
  memory.count = segment.range.size();
  memory.master = data_or_null(slice.master, offset);
  memory.gradient = data_or_null(gradient, offset);
  memory.moment1 = data_or_null(slice.moments.at(0), offset);
  if (slice.moments.size() > 1) memory.moment2 = data_or_null(slice.moments[1], offset);
  if (slice.weights.scalar_type() == at::kBFloat16) {
    memory.weights = static_cast<std::uint16_t*>(slice.weights.data_ptr()) + offset;
  }
  memory.ema = data_or_null(slice.ema, offset);
  memory.ema_rate = static_cast<float>(1.0 - scalars.ema_decay);
  return memory;
}

}  // namespace

BlockSums::BlockSums(const FlatParameters& flat, std::int64_t rows)
    : flat_(flat),
      sums_(at::zeros({rows, flat.num_sums()},
                      at::device(flat.tensors().front().device()).dtype(at::kDouble))) {}

at::Tensor& BlockSums::table() {
  if (!table_.defined()) table_ = HostCopy(sums_).get();
  return table_;
}

std::vector<double> BlockSums::by_entry(std::int64_t row) {
  const double* sums = table().data_ptr<double>() + row * flat_.num_sums();
  std::vector<double> totals;
  for (const auto& entry : flat_.entries()) {
    double total = 0.0;
    for (std::int64_t i = 0; i < entry.num_sums(); ++i) total += sums[entry.first_sum + i];
    totals.push_back(total);
  }
  return totals;
}

double BlockSums::total(std::int64_t row) {
  double total = 0.0;
  for (const double entry : by_entry(row)) total += entry;
  return total;
}

void add_squares(const Slice& slice, const at::Tensor& gradient, BlockSums& sums) {
  if (has_gpu_kernels_for(slice)) return add_squares_on_gpu(slice, gradient, sums);
  if (!gradient.device().is_cpu()) return add_squares_of_tensors(slice, gradient, sums);
  const float* values = gradient.data_ptr<float>();
  auto* row = sums.row(0).data_ptr<double>();
  for_each_segment(slice, [&](const Segment& segment) {
    const Range range = segment.range;
    row[segment.sum] = squared_sum(values + range.begin - slice.range.begin, range.size());
  });
}

double clip_factor(double norm, double clip_norm) {
  return clip_norm > 0.0 ? std::min(1.0, clip_norm / (norm + 1e-6)) : 1.0;
}

std::vector<std::string> Optimizer::names() {
  std::vector<std::string> names;
  for (const RuleName& known : rule_names()) names.emplace_back(known.name);
  return names;
}

Optimizer::Optimizer(const OptimizerOptions& options, Path path)
    : options_(options),
      path_(path),
      rule_(rule_named(options.name).rule),
      moment_names_(rule_named(options.name).moments) {
  if (!is_momentum(rule_) && options.betas.size() != 2) {
    throw usage_error("optimizer.betas has {} numbers; {} needs two", options.betas.size(),
                      options.name);
  }
}

double Optimizer::weight_decay(const StepScalars& scalars) const {
  return scalars.weight_decay.value_or(options_.weight_decay);
}

RuleScalars Optimizer::scalars_of(const FlatParameters::Entry& entry, const StepScalars& scalars,
                                  std::int64_t update) const {
  const double lr = scalars.lr * entry.lr_scale;
  const double decay = entry.has_decay ? weight_decay(scalars) : 0.0;
  RuleScalars s;
  s.lr = static_cast<float>(lr);
  s.decay = static_cast<float>(decay);
  s.eps = static_cast<float>(options_.eps);
  if (entry.bound) s.bound = static_cast<float>(*entry.bound);
  s.is_frozen = update == 0;
  if (s.is_frozen) return s;
  if (is_momentum(rule_)) {
    s.beta1 = static_cast<float>(options_.momentum);
    set_trust_ratio(s, lr, 1.0);
    return s;
  }
  const double beta1 = options_.betas[0], beta2 = options_.betas[1];
  const double correction1 = 1.0 - std::pow(beta1, static_cast<double>(update));
  const double correction2 = 1.0 - std::pow(beta2, static_cast<double>(update));
  s.beta1 = static_cast<float>(beta1);
  s.beta2 = static_cast<float>(beta2);
  s.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  s.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  s.shrink = static_cast<float>(1.0 - lr * decay);
  s.unbias1 = static_cast<float>(1.0 / correction1);
  s.unbias_root2 = static_cast<float>(1.0 / std::sqrt(correction2));
  s.step_size = static_cast<float>(lr / correction1);
  return s;
}

void Optimizer::set_trust_ratio(RuleScalars& scalars, double lr, double ratio) const {
  if (ratio == 0.0) {  // LARC, of an entry without a norm
    scalars.decay = 0.0f;
    ratio = 1.0;
  }
  const bool is_rate_inside = options_.rate_in_momentum && is_momentum(rule_);
  scalars.trust_ratio = static_cast<float>(is_rate_inside ? lr * ratio : ratio);
  if (is_rate_inside) scalars.lr = 1.0f;
}

std::vector<RuleScalars> Optimizer::scalars_by_entry(const FlatParameters& flat,
                                                     const StepScalars& scalars,
                                                     std::span<const double> ratios) const {
  std::vector<RuleScalars> all;
  for (const auto& entry : flat.entries()) {
    const std::size_t i = all.size();
    all.push_back(
        scalars_of(entry, scalars, scalars.updates.empty() ? scalars.update : scalars.updates[i]));
    const bool has_own_scale = !scalars.gradient_scales.empty();
    all[i].gradient_scale =
        static_cast<float>(has_own_scale ? scalars.gradient_scales[i] : scalars.gradient_scale);
    if (!ratios.empty()) set_trust_ratio(all[i], scalars.lr * entry.lr_scale, ratios[i]);
  }
  return all;
}

void Optimizer::prepare(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
                        const FlatParameters& flat, const StepScalars& scalars,
                        BlockSums& sums) const {
  if (slices.empty()) return;
  check_slices(slices, gradients);
  const std::vector<RuleScalars> by_entry = scalars_by_entry(flat, scalars, {});
  const TensorUpdate update{rule_, by_entry, scalars.ema_decay};
  if (uses_gpu_kernels(slices[0])) return prepare_on_gpu(slices, gradients, update, sums);
  auto* parameter = sums.row(0).data_ptr<double>();
  auto* direction = sums.row(1).data_ptr<double>();
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (uses_tensors(slices[i])) {
      prepare_tensors(slices[i], gradients[i], update, sums);
      continue;
    }
    for_each_segment(slices[i], [&](const Segment& segment) {
      if (by_entry[segment.entry].is_frozen) return;
      const SquaredNorms norms = prepare_segment(
          rule_, memory_of(slices[i], segment, gradients[i], scalars), by_entry[segment.entry]);
      parameter[segment.sum] = norms.parameter;
      direction[segment.sum] = norms.direction;
    });
  }
}

std::vector<double> Optimizer::trust_ratios(const FlatParameters& flat, const StepScalars& scalars,
                                            BlockSums& sums) const {
  const std::vector<double> parameter = sums.by_entry(0);
  const std::vector<double> direction = sums.by_entry(1);
  const bool is_larc = rule_ == Rule::kLarc;
  const double eta = rule_ == Rule::kLamb ? 1.0 : options_.trust_coefficient;
  std::vector<double> ratios(parameter.size(), is_larc ? 0.0 : 1.0);
  for (std::size_t i = 0; i < ratios.size(); ++i) {
    const bool has_decay = flat.entries()[i].has_decay;
    if ((!has_decay && !is_larc) || parameter[i] == 0.0 || direction[i] == 0.0) continue;
    const double p = std::sqrt(parameter[i]);
    double u = std::sqrt(direction[i]);
    if (is_larc) u += (has_decay ? weight_decay(scalars) : 0.0) * p + options_.eps;
    ratios[i] = eta * p / u;
  }
  return ratios;
}

void Optimizer::step(std::span<const Slice> slices, std::span<const at::Tensor> gradients,
                     const FlatParameters& flat, const StepScalars& scalars,
                     std::span<const double> ratios) const {
  if (slices.empty()) return;
  check_slices(slices, gradients);
  KILN_CHECK(ratios.size() == (has_trust_ratio() ? flat.entries().size() : 0));
  const std::vector<RuleScalars> by_entry = scalars_by_entry(flat, scalars, ratios);
  const TensorUpdate update{rule_, by_entry, scalars.ema_decay};
  if (uses_gpu_kernels(slices[0])) return step_on_gpu(slices, gradients, update);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (uses_tensors(slices[i])) {
      step_tensors(slices[i], gradients[i], update);
      continue;
    }
    for_each_segment(slices[i], [&](const Segment& segment) {
      const RuleScalars& s = by_entry[segment.entry];
      if (s.is_frozen) return;
      const SegmentMemory memory = memory_of(slices[i], segment, gradients[i], scalars);
      has_trust_ratio() ? finish_segment(rule_, memory, s) : update_segment(rule_, memory, s);
    });
  }
}

bool Optimizer::uses_tensors(const Slice& slice) const {
  return path_ == Path::kTensors || !slice.master.device().is_cpu();
}

bool Optimizer::uses_gpu_kernels(const Slice& slice) const {
  return path_ == Path::kByDevice && has_gpu_kernels_for(slice);
}

}  // namespace kiln
