#include "core/device/in_parallel.h"
#include "models/kernels/device/device_maps.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/matmul.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

ConvWeightShape shape_of(const at::Tensor& weight) {
  return {weight.size(0), weight.size(1), static_cast<int>(weight.size(2) * weight.size(3))};
}

/// Whether the kernels take weights from one layout to the other; with one tap there is one.
bool runs_in_weight_kernels(const at::Tensor& weight) {
  const std::int64_t taps = weight.size(2) * weight.size(3);
  return runs_in_loops(weight) && weight.is_contiguous() && taps > 1 &&
         taps <= ConvWeightShape::kMostTaps;
}

template <typename Function>
void over_outputs(const ConvWeightShape& shape, const Function& function) {
  constexpr std::int64_t kGrain = 16'384;  // weights
  in_parallel(shape.out, kGrain / (shape.in * shape.taps), function);
}

at::Tensor channels_last_weight(const at::Tensor& weight) {
  if (weight.size(2) * weight.size(3) == 1 && weight.is_contiguous()) return weight;
  if (!runs_in_weight_kernels(weight)) return channels_last(weight);
  const at::Tensor result = at::empty_like(weight, at::MemoryFormat::ChannelsLast);
  with_host_type(weight, [&](auto zero) {
    using T = decltype(zero);
    const ConvWeightShape shape = shape_of(weight);
    const T* from = host_data<T>(weight);
    T* to = host_data<T>(result);
    if (weight.is_cuda()) {
      return device_weights_to_channels_last<T>(shape, from, to, device_stream(weight));
    }
    over_outputs(shape, [&](std::int64_t begin, std::int64_t end) {
      weights_to_channels_last(shape, from, to, begin, end);
    });
  });
  return result;
}

at::Tensor give_channels_last_gradient(const at::Tensor& weight, const at::Tensor& given) {
  return give_gradient(weight, [&](at::Tensor& into, bool is_added) {
    if (!runs_in_weight_kernels(into) || into.scalar_type() != given.scalar_type()) {
      is_added ? into.add_(given) : into.copy_(given);
      return;
    }
    const at::Tensor gradient = channels_last(given);
    with_host_type(into, [&](auto zero) {
      using T = decltype(zero);
      const ConvWeightShape shape = shape_of(into);
      const T* from = host_data<T>(gradient);
      T* to = host_data<T>(into);
      if (into.is_cuda()) {
        return device_weights_from_channels_last<T>(shape, from, to, is_added, device_stream(into));
      }
      over_outputs(shape, [&](std::int64_t begin, std::int64_t end) {
        weights_from_channels_last(shape, from, to, is_added, begin, end);
      });
    });
  });
}

/// [C], in fp32 (fp64 of fp64), of dense channels-last maps.
at::Tensor sum_of_channels(const at::Tensor& maps) {
  if (!runs_in_device_loops(maps)) {
    return maps.sum({0, 2, 3}, false, maps.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  }
  const std::int64_t cols = maps.size(1), rows = maps.numel() / cols;
  const at::Tensor sums =
      at::empty({device_column_chunks(rows, cols), cols}, maps.options().dtype(at::kFloat));
  with_host_type(maps, [&](auto zero) {
    using T = decltype(zero);
    device_column_sums<T>(host_data<T>(maps), sums.data_ptr<float>(), rows, cols,
                          device_stream(maps));
  });
  return sums.sum(0);
}

struct ConvFunction : torch::autograd::Function<ConvFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& given_bias, std::int64_t stride,
                            std::int64_t padding) {
    const at::Tensor own = channels_last_weight(weight), bias = maybe(given_bias);
    ctx->save_for_backward({x, weight, bias, own});
    ctx->saved_data["stride"] = stride;
    ctx->saved_data["padding"] = padding;
    return at::convolution(x, own, bias, {stride, stride}, {padding, padding}, {1, 1}, false,
                           {0, 0}, 1);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &own = saved[3];
    const std::int64_t stride = ctx->saved_data["stride"].toInt();
    const std::int64_t padding = ctx->saved_data["padding"].toInt();
    if (is_graph_created()) {
      const auto plain = [&](const variable_list& in) {
        return variable_list{plain_conv(in[0], {in[1], in[2], stride, padding})};
      };
      return differentiable_gradients(ctx, {x, weight, bias}, gradients, plain);
    }
    const at::Tensor dy = channels_last(gradients[0]);
    const bool has_dw = ctx->needs_input_grad(1);
    const bool has_db = bias.defined() && ctx->needs_input_grad(2);
    // The host's library sums the bias' gradient on its way.
    const bool is_summed = has_db && x.is_cpu();
    const auto sizes = is_summed ? at::OptionalIntArrayRef(bias.sizes()) : std::nullopt;
    const auto [dx, dw, sums] =
        at::convolution_backward(dy, x, own, sizes, {stride, stride}, {padding, padding}, {1, 1},
                                 false, {0, 0}, 1, {ctx->needs_input_grad(0), has_dw, is_summed});
    at::Tensor db;
    if (has_db) db = give_gradient_of(bias, is_summed ? sums : sum_of_channels(dy));
    return {dx, has_dw ? give_channels_last_gradient(weight, dw) : at::Tensor(), db, at::Tensor(),
            at::Tensor()};
  }
};

/// Channels [begin, begin + part.size(1)) of `whole` and part, one of which is written; both dense
/// and channels-last.
void copy_channels(const at::Tensor& part, const at::Tensor& whole, std::int64_t begin,
                   bool is_part_written) {
  const std::int64_t cols = part.size(1), all = whole.size(1), rows = part.numel() / cols;
  with_host_type(part, [&](auto zero) {
    using T = decltype(zero);
    T *own = host_data<T>(part), *there = host_data<T>(whole) + begin;
    void* stream = device_stream(part);
    is_part_written ? device_copy_columns<T>(there, all, own, cols, rows, cols, stream)
                    : device_copy_columns<T>(own, cols, there, all, rows, cols, stream);
  });
}

struct JoinFunction : torch::autograd::Function<JoinFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& a, const at::Tensor& b) {
    ctx->saved_data["channels"] = a.size(1);
    if (!runs_in_device_loops(a)) return at::cat({a, b}, 1);
    const at::Tensor whole = at::empty({a.size(0), a.size(1) + b.size(1), a.size(2), a.size(3)},
                                       a.options().memory_format(at::MemoryFormat::ChannelsLast));
    copy_channels(channels_last(a), whole, 0, false);
    copy_channels(channels_last(b), whole, a.size(1), false);
    return whole;
  }
  // Whoever is given a slice of the gradient would have to copy it, and more than once.
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const at::Tensor dy = channels_last(gradients[0]);
    const std::int64_t first = ctx->saved_data["channels"].toInt();
    const auto part = [&](std::int64_t begin, std::int64_t count) {
      const at::Tensor slice = dy.narrow(1, begin, count);
      if (!runs_in_device_loops(dy) || is_graph_created()) return channels_last(slice);
      const at::Tensor own =
          at::empty(slice.sizes(), slice.options().memory_format(at::MemoryFormat::ChannelsLast));
      copy_channels(own, dy, begin, true);
      return own;
    };
    return {part(0, first), part(first, dy.size(1) - first)};
  }
};

struct BiasedSumFunction : torch::autograd::Function<BiasedSumFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& given_a,
                            const at::Tensor& given_b, const at::Tensor& bias) {
    ctx->save_for_backward({bias});
    const at::Tensor a = channels_last(given_a), b = channels_last(given_b);
    if (!runs_in_device_loops(a)) return plain_biased_sum(a, b, bias);
    const at::Tensor sum = at::empty_like(a, at::MemoryFormat::ChannelsLast);
    const std::int64_t channels = a.size(1);
    with_host_type(a, [&](auto zero) {
      using T = decltype(zero);
      device_biased_sum<T>(host_data<T>(a), host_data<T>(b), host_data<T>(bias), host_data<T>(sum),
                           a.numel() / channels, channels, device_stream(a));
    });
    return sum;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const at::Tensor bias = ctx->get_saved_variables()[0];
    const at::Tensor dy = channels_last(gradients[0]);
    if (!ctx->needs_input_grad(2)) return {dy, dy, at::Tensor()};
    if (is_graph_created()) return {dy, dy, dy.sum({0, 2, 3})};
    return {dy, dy, give_gradient_of(bias, sum_of_channels(dy))};
  }
};

}  // namespace

at::Tensor plain_biased_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  return a + (b + bias.view({1, -1, 1, 1}));
}

at::Tensor fused_biased_sum(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  return BiasedSumFunction::apply(a, b, bias);
}

at::Tensor fused_conv(const at::Tensor& x, const ConvWeights& weights) {
  if (!runs_in_loops(x) || product_type(x) != x.scalar_type()) return plain_conv(x, weights);
  if (runs_in_winograd(x, weights)) return winograd_conv(x, weights);
  return ConvFunction::apply(channels_last(x), weights.weight, maybe(weights.bias), weights.stride,
                             weights.padding);
}

at::Tensor plain_conv(const at::Tensor& x, const ConvWeights& weights) {
  const at::ScalarType type = product_type(x);
  const at::Tensor& bias = weights.bias;
  return at::conv2d(x.to(type), weights.weight.to(type), bias.defined() ? bias.to(type) : bias,
                    at::IntArrayRef{weights.stride, weights.stride},
                    at::IntArrayRef{weights.padding, weights.padding})
      .to(x.scalar_type());
}

at::Tensor fused_channel_join(const at::Tensor& a, const at::Tensor& b) {
  if (!runs_in_loops(a)) return at::cat({a, b}, 1);
  return JoinFunction::apply(a, b);
}

}  // namespace kiln
