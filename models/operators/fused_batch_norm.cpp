#include "core/device/in_parallel.h"
#include "models/kernels/host_batch_norm.h"
#include "models/operators/batch_norm.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/second_order.h"

// N rows: samples times pixels.

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kGrainRows = 64;

/// Sums over chunks of rows, [2, chunks, C] of two kinds.
template <typename Function>
at::Tensor over_chunks(std::int64_t rows, std::int64_t channels, const Function& function) {
  const std::int64_t height = batch_norm_chunk_rows(channels);
  const std::int64_t chunks = (rows + height - 1) / height;
  const at::Tensor sums = at::empty({2, chunks, channels}, at::kFloat);
  float* first = sums.data_ptr<float>();
  in_parallel(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      function(chunk * height, std::min(rows, (chunk + 1) * height), first + chunk * channels,
               first + (chunks + chunk) * channels);
    }
  });
  return sums;
}

/// [2, C] in double: mean, and sum of squares about it (Chan et al., 1979).
at::Tensor joined(const at::Tensor& chunks, std::int64_t rows) {
  const std::int64_t count = chunks.size(1), channels = chunks.size(2);
  const std::int64_t height = batch_norm_chunk_rows(channels);
  const at::Tensor sizes = at::full({count, 1}, static_cast<double>(height), at::kDouble);
  sizes[count - 1] = static_cast<double>(rows - (count - 1) * height);
  const at::Tensor means = chunks[0].to(at::kDouble), squares = chunks[1].to(at::kDouble);
  const at::Tensor mean = (means * sizes).sum(0) / static_cast<double>(rows);
  return at::stack({mean, squares.sum(0) + ((means - mean).square() * sizes).sum(0)});
}

struct Scales {
  at::Tensor mean, rstd, scale, shift;  // [C] fp32
};

Scales scales_of(const at::Tensor& mean, const at::Tensor& variance, double eps,
                 const at::Tensor& gamma, const at::Tensor& beta) {
  Scales s{mean.to(at::kFloat).contiguous(), (variance.to(at::kDouble) + eps).rsqrt(), {}, {}};
  s.scale = (gamma.defined() ? s.rstd * gamma.to(at::kDouble) : s.rstd).to(at::kFloat);
  s.shift = beta.defined() ? beta.to(at::kFloat).contiguous() : at::zeros_like(s.mean);
  s.rstd = s.rstd.to(at::kFloat);
  return s;
}

template <typename T>
BatchNormRows<T> rows_of(const at::Tensor& x, const at::Tensor& added, const Scales& scales,
                         bool has_relu) {
  return {.channels = x.size(1),
          .x = host_data<T>(x),
          .added = host_data<T>(added),
          .mean = scales.mean.data_ptr<float>(),
          .scale = scales.scale.data_ptr<float>(),
          .shift = scales.shift.data_ptr<float>(),
          .has_relu = has_relu};
}

at::Tensor normalised(const at::Tensor& x, const at::Tensor& added, const Scales& scales,
                      bool has_relu) {
  const at::Tensor y = at::empty_like(x);
  with_host_type(x, [&](auto zero) {
    using T = decltype(zero);
    const auto rows = rows_of<T>(x, added, scales, has_relu);
    in_parallel(x.numel() / x.size(1), kGrainRows, [&](std::int64_t begin, std::int64_t end) {
      batch_norm_rows(rows, host_data<T>(y), begin, end);
    });
  });
  return y;
}

at::Tensor dense(const at::Tensor& x) { return x.dim() == 4 ? channels_last(x) : x.contiguous(); }

struct BatchNormFunction : torch::autograd::Function<BatchNormFunction> {
  using Maybe = std::optional<at::Tensor>;
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const Maybe& given_gamma,
                               const Maybe& given_beta, const Maybe& given_added, double eps,
                               bool has_relu) {
    const at::Tensor gamma = maybe(given_gamma), beta = maybe(given_beta);
    const std::int64_t channels = x.size(1), rows = x.numel() / channels;
    at::Tensor chunks;
    with_host_type(x, [&](auto zero) {
      using T = decltype(zero);
      chunks = over_chunks(
          rows, channels, [&](std::int64_t begin, std::int64_t end, float* mean, float* squares) {
            batch_norm_moments(host_data<T>(x), channels, begin, end, mean, squares);
          });
    });
    const at::Tensor moments = joined(chunks, rows);
    const auto n = static_cast<double>(rows);
    const Scales scales = scales_of(moments[0], moments[1] / n, eps, gamma, beta);
    const at::Tensor y = normalised(x, maybe(given_added), scales, has_relu);
    const at::Tensor statistics = at::stack({moments[0], moments[1] / (n - 1.0)}).to(at::kFloat);
    ctx->mark_non_differentiable({statistics});
    ctx->save_for_backward({x, gamma, beta, has_relu ? y : at::Tensor(), scales.mean, scales.rstd,
                            scales.scale, scales.shift});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["has_added"] = given_added.has_value();
    return {y, statistics};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients);
};

bool is_trained(const at::Tensor& x) { return x.defined() && x.requires_grad(); }

/// The same gradients in LibTorch's operations. Where ReLU passes nothing on, nothing follows from
/// `added` either, which is not kept.
variable_list plain_backward(const variable_list& saved, double eps, bool has_added,
                             const at::Tensor& dy) {
  const at::Tensor &x = saved[0], &gamma = saved[1], &beta = saved[2], &y = saved[3];
  const at::Tensor g = y.defined() ? dy * y.gt(0).to(dy.scalar_type()) : dy;
  const auto norm = [&](const variable_list& in) {
    BatchNormInput input{.x = in[0], .gamma = in[1], .beta = in[2]};
    input.eps = eps;
    return variable_list{plain_batch_norm(input).y};
  };
  variable_list found = differentiable_gradients(
      {x, gamma, beta}, {is_trained(x), is_trained(gamma), is_trained(beta)}, {g}, norm);
  found.insert(found.end(), {has_added ? g : at::Tensor(), at::Tensor(), at::Tensor()});
  return found;
}

variable_list BatchNormFunction::backward(AutogradContext* ctx, const variable_list& gradients) {
  const auto saved = ctx->get_saved_variables();
  const at::Tensor &x = saved[0], &gamma = saved[1], &beta = saved[2], &kept_y = saved[3];
  const bool has_added = ctx->saved_data["has_added"].toBool();
  if (is_graph_created()) {
    return plain_backward(saved, ctx->saved_data["eps"].toDouble(), has_added, gradients[0]);
  }
  const Scales scales{saved[4], saved[5], saved[6], saved[7]};
  const at::Tensor dy = dense(gradients[0]);
  const std::int64_t channels = x.size(1), rows = x.numel() / channels;
  const at::Tensor masked = has_added && kept_y.defined() ? at::empty_like(x) : at::Tensor();
  const at::Tensor dx = at::empty_like(x);
  at::Tensor sums;  // [2, C]: of g, of g (x - mean)
  with_host_type(x, [&](auto zero) {
    using T = decltype(zero);
    const auto own = rows_of<T>(x, {}, scales, false);
    const T *d = host_data<T>(dy), *y = host_data<T>(kept_y);
    T* g = host_data<T>(masked);
    sums = over_chunks(rows, channels,
                       [&](std::int64_t begin, std::int64_t end, float* first, float* second) {
                         batch_norm_gradient_sums(own, d, y, g, begin, end, first, second);
                       })
               .sum(1, /*keepdim=*/false, at::kDouble);
    const at::Tensor share = scales.scale.to(at::kDouble) / static_cast<double>(rows);
    const at::Tensor rstd = scales.rstd.to(at::kDouble);
    const at::Tensor slope = (-share * rstd.square() * sums[1]).to(at::kFloat);
    const at::Tensor offset = (-share * sums[0]).to(at::kFloat);
    const BatchNormSlopes slopes{slope.data_ptr<float>(), offset.data_ptr<float>()};
    in_parallel(rows, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
      batch_norm_gradient(own, slopes, g ? g : d, g ? nullptr : y, host_data<T>(dx), begin, end);
    });
  });
  at::Tensor dgamma, dbeta;
  if (is_trained(gamma)) {
    dgamma = give_gradient_of(gamma, sums[1] * scales.rstd.to(at::kDouble));
  }
  if (is_trained(beta)) dbeta = give_gradient_of(beta, sums[0]);
  const at::Tensor dadded = !has_added ? at::Tensor() : masked.defined() ? masked : dy;
  return {dx, dgamma, dbeta, dadded, at::Tensor(), at::Tensor()};
}

bool takes(const BatchNormInput& in) {
  const bool is_alike = !in.added.defined() || (in.added.scalar_type() == in.x.scalar_type() &&
                                                in.added.sizes() == in.x.sizes());
  return runs_in_host_loops(in.x) && is_alike && (in.x.dim() == 2 || in.x.dim() == 4) &&
         in.x.numel() > 0;
}

bool needs_gradient(const BatchNormInput& in) {
  return at::GradMode::is_enabled() &&
         (is_trained(in.x) || is_trained(in.gamma) || is_trained(in.beta) || is_trained(in.added));
}

}  // namespace

BatchNormOutput plain_batch_norm(const BatchNormInput& in) {
  BatchNormOutput out;
  const auto type = in.x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto wide = [&](const at::Tensor& x) { return x.defined() ? x.to(type) : x; };
  const bool is_training = !in.mean.defined();
  at::Tensor mean = in.mean, variance = in.variance;
  if (is_training) {
    // With a momentum of 1 the running statistics become those of x.
    mean = at::zeros({in.x.size(1)}, in.x.options().dtype(type));
    variance = at::zeros_like(mean);
  }
  out.y = at::batch_norm(in.x, wide(in.gamma), wide(in.beta), mean, variance, is_training,
                         /*momentum=*/1.0, in.eps, /*cudnn_enabled=*/true);
  if (is_training) out.statistics = at::stack({mean, variance});
  if (in.added.defined()) out.y = out.y + in.added;
  if (in.has_relu) out.y = at::relu(out.y);
  return out;
}

BatchNormOutput fused_batch_norm(const BatchNormInput& in) {
  if (!takes(in)) return plain_batch_norm(in);
  const at::Tensor x = dense(in.x), added = in.added.defined() ? dense(in.added) : at::Tensor();
  if (!in.mean.defined()) {
    const auto out = BatchNormFunction::apply(x, maybe(in.gamma), maybe(in.beta), maybe(added),
                                              in.eps, in.has_relu);
    return {out[0], out[1]};
  }
  if (needs_gradient(in)) return plain_batch_norm(in);
  const Scales scales = scales_of(in.mean, in.variance, in.eps, in.gamma, in.beta);
  return {normalised(x, added, scales, in.has_relu), {}};
}

}  // namespace kiln
