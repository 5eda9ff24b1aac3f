#include "core/optimizer/optimizer_tensors.h"

#include <cmath>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kBlock = FlatParameters::kBlock;

/// What a slice has of one tensor.
struct Run {
  std::size_t entry = 0;
  Range range;           // from the start of the slice
  std::int64_t sum = 0;  // number of its first segment
};

std::vector<Run> runs_of(const Slice& slice) {
  std::vector<Run> runs;
  for (const auto& segment : slice.segments) {
    const Range range{segment.range.begin - slice.range.begin,
                      segment.range.end - slice.range.begin};
    if (!runs.empty() && runs.back().entry == segment.entry) {
      runs.back().range.end = range.end;
    } else {
      runs.push_back({segment.entry, range, segment.sum});
    }
  }
  return runs;
}

at::Tensor part(const at::Tensor& tensor, Range range) {
  return tensor.narrow(0, range.begin, range.size());
}

// Of a run's values, by block: a run begins where its tensor or a block of it does.
void store_squares(const at::Tensor& values, const Run& run, const at::Tensor& row) {
  const at::Tensor squares = values.to(at::kDouble).square();
  const std::int64_t padding = (kBlock - squares.numel() % kBlock) % kBlock;
  const at::Tensor sums = at::constant_pad_nd(squares, {0, padding}).view({-1, kBlock}).sum(1);
  row.narrow(0, run.sum, sums.numel()).copy_(sums);
}

template <typename Function>
void with_rule(Rule rule, const Function& function) {
  switch (rule) {
    case Rule::kAdamW:
      return function(AdamWRule{});
    case Rule::kAdam:
      return function(AdamRule{});
    case Rule::kAdamax:
      return function(AdamaxRule{});
    case Rule::kRmsprop:
      return function(RmspropRule{});
    case Rule::kUncorrectedAdam:
      return function(UncorrectedAdamRule{});
    case Rule::kLamb:
      return function(LambRule{});
    case Rule::kLarc:
      return function(LarcRule{});
    case Rule::kLars:
    case Rule::kSgd:
      return function(LarsRule{});
  }
}

/// The elements of one run; moments are written back by store_moments().
struct Elements {
  at::Tensor p, g, m, v;
  Elements(const Slice& slice, const at::Tensor& gradient, const Run& run, float scale)
      : p(part(slice.master, run.range)),
        g(part(gradient, run.range) * scale),
        m(part(slice.moments[0], run.range)),
        v(slice.moments.size() > 1 ? part(slice.moments[1], run.range) : m) {}
  void store_moments(const Slice& slice, const Run& run) const {
    part(slice.moments[0], run.range).copy_(m);
    if (slice.moments.size() > 1) part(slice.moments[1], run.range).copy_(v);
  }
};

}  // namespace

void add_squares_of_tensors(const Slice& slice, const at::Tensor& gradient, BlockSums& sums) {
  for (const Run& run : runs_of(slice)) {
    store_squares(part(gradient, run.range), run, sums.row(0));
  }
}

void prepare_tensors(const Slice& slice, const at::Tensor& gradient, const TensorUpdate& update,
                     BlockSums& sums) {
  const at::NoGradGuard no_grad;
  with_rule(update.rule, [&](auto rule) {
    for (const Run& run : runs_of(slice)) {
      const RuleScalars s = update.scalars[run.entry];
      if (s.is_frozen) continue;
      Elements e(slice, gradient, run, s.gradient_scale);
      const at::Tensor u = rule.direction(s, e.p, e.g, e.m, e.v);
      e.store_moments(slice, run);
      store_squares(e.p, run, sums.row(0));
      store_squares(u, run, sums.row(1));
    }
  });
}

void step_tensors(const Slice& slice, const at::Tensor& gradient, const TensorUpdate& update) {
  const at::NoGradGuard no_grad;
  with_rule(update.rule, [&](auto rule) {
    for (const Run& run : runs_of(slice)) {
      const RuleScalars s = update.scalars[run.entry];
      if (s.is_frozen) continue;
      Elements e(slice, gradient, run, s.gradient_scale);
      at::Tensor u;
      if constexpr (requires { rule.direction_again(s, e.p, e.g, e.m, e.v); }) {
        const bool is_prepared = update.rule != Rule::kSgd;
        u = is_prepared ? rule.direction_again(s, e.p, e.g, e.m, e.v)
                        : rule.direction(s, e.p, e.g, e.m, e.v);
      } else {
        u = rule.direction(s, e.p, e.g, e.m, e.v);
      }
      at::Tensor p = rule.apply(s, e.p, u, e.m);
      if (std::isfinite(s.bound)) p = p.clamp(-s.bound, s.bound);
      e.store_moments(slice, run);
      e.p.copy_(p);
      if (slice.weights.scalar_type() != at::kFloat) part(slice.weights, run.range).copy_(p);
      if (!slice.ema.defined()) continue;
      const at::Tensor ema = part(slice.ema, run.range);
      ema.add_(static_cast<float>(1.0 - update.ema_decay) * (p - ema));
    }
  });
}

}  // namespace kiln
