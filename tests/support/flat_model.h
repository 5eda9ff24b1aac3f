#pragma once

#include <cmath>

#include "core/optimizer/optimizer.h"
#include "core/torch.h"

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

}  // namespace kiln
