#pragma once

#include <cmath>

#include "core/optimizer/optimizer.h"
#include "core/torch.h"
#include "tests/support/normal.h"

namespace kiln {

/// Flat parameters with one slice per bucket part, as `ranks` sharded ranks have them all.
struct FlatModel {
  std::vector<Parameter> parameters;
  FlatParameters flat;
  std::vector<Slice> slices;

  FlatModel(std::vector<Parameter> initial, const Optimizer& optimizer, bool has_ema = false,
            std::int64_t bucket_bytes = 1 << 16, int ranks = 1)
      : parameters(initial), flat(parameters, bucket_bytes, ranks) {
    for (std::size_t bucket = 0; bucket < flat.buckets().size(); ++bucket) {
      for (int rank = 0; rank < ranks; ++rank) {
        Slice slice;
        slice.range = flat.slice(bucket, rank, ranks);
        slice.segments = flat.segments(slice.range);
        slice.weights = flat.weights(slice.range);
        slice.master = slice.weights.to(at::kFloat);  // fp32: the same memory
        slice.moments.assign(optimizer.moment_names().size(), at::Tensor());
        for (auto& moment : slice.moments) moment = at::zeros_like(slice.master);
        if (has_ema) slice.ema = slice.master.clone();
        slices.push_back(slice);
      }
    }
  }

  double step(const Optimizer& optimizer, StepScalars scalars, double clip_norm = 0.0) {
    const auto gradient = [&](const Slice& slice) {
      return flat.gradients(slice.range).to(at::kFloat);
    };
    BlockSums norms(flat, 1), trust(flat, 2);
    for (const Slice& slice : slices) add_squares(slice, gradient(slice), norms);
    const double norm = std::sqrt(norms.total(0));
    scalars.gradient_scale = clip_factor(norm, clip_norm);
    std::vector<double> ratios;
    if (optimizer.has_trust_ratio()) {
      for (const Slice& slice : slices) {
        optimizer.prepare(slice, gradient(slice), flat, scalars, trust);
      }
      ratios = optimizer.trust_ratios(flat, scalars, trust);
    }
    for (const Slice& slice : slices) optimizer.step(slice, gradient(slice), flat, scalars, ratios);
    return norm;
  }
};

inline at::Tensor leaf(const at::Tensor& values) { return values.clone().set_requires_grad(true); }

/// A little network's worth of tensors, some larger than a block, one all zero.
inline std::vector<Parameter> some_parameters(at::ScalarType type = at::kFloat,
                                              at::Device device = at::kCPU) {
  const std::vector<std::vector<std::int64_t>> shapes = {
      {100, 300}, {300}, {128, 128}, {1}, {7, 9}};
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const at::Tensor values =
        normal(shapes[i], static_cast<std::int64_t>(i)) * (i == 4 ? 0.0f : 0.3f);
    parameters.push_back({.name = "p" + std::to_string(i),
                          .tensor = leaf(values.to(device, type)),
                          .has_decay = shapes[i].size() > 1,
                          .lr_scale = i == 2 ? 0.5 : 1.0});
  }
  return parameters;
}

inline void set_gradients(FlatModel& model, std::int64_t step) {
  for (std::size_t i = 0; i < model.parameters.size(); ++i) {
    const at::Tensor& tensor = model.parameters[i].tensor;
    const auto position = 1000 * step + static_cast<std::int64_t>(i);
    model.parameters[i].tensor.mutable_grad().copy_(normal(tensor.sizes(), position));
  }
}

}  // namespace kiln
