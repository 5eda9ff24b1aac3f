#include <ATen/native/CPUBlas.h>

#include "core/device/in_parallel.h"
#include "models/kernels/processor.h"
#include "models/kernels/winograd.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kProducts = 16;  // of matrices, one for each value of a tile
constexpr std::int64_t kGrain = 1'024;  // values of one of the matrices

WinogradMaps shape_of(const at::Tensor& maps) {
  return {maps.size(0), maps.size(2), maps.size(3), maps.size(1)};
}

/// [16, tiles, channels]; not a power of two apart, or a tile's 16 values would all want the same
/// few lines of the cache.
at::Tensor empty_tiles(std::int64_t tiles, std::int64_t channels) {
  return at::empty_strided({kProducts, tiles, channels}, {tiles * channels + 16, channels, 1},
                           at::kFloat);
}
WinogradTiles tiles_of(const at::Tensor& x, std::int64_t first_tile) {
  return {x.data_ptr<float>(), x.stride(0), first_tile};
}

template <typename Function>
void over_outputs(const WinogradWeights& shape, const Function& function) {
  in_parallel(shape.out / 8, kGrain / (8 * shape.in),
              [&](std::int64_t begin, std::int64_t end) { function(begin * 8, end * 8); });
}

/// [out, in, 3, 3] -> [16, out, in] or [16, in, out].
at::Tensor transform(const at::Tensor& weight, bool is_transposed) {
  const WinogradWeights shape{weight.size(0), weight.size(1)};
  const std::int64_t rows = weight.size(is_transposed ? 1 : 0);
  const at::Tensor result =
      at::empty({kProducts, rows, weight.size(is_transposed ? 0 : 1)}, weight.options());
  over_outputs(shape, [&](std::int64_t begin, std::int64_t end) {
    winograd_weights(shape, weight.data_ptr<float>(), result.data_ptr<float>(), is_transposed,
                     begin, end);
  });
  return result;
}

/// Maps [B, K, H, W] by transformed weights [16, K, N], turned for backward, to [B, N, H, W].
///
/// oneDNN's product takes its operands as they lie: so the tiles of a block never leave the second
/// level of the cache.
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& bias,
                    bool is_turned) {
  constexpr std::int64_t kBlock = 128 * 1'024;  // values, of inputs and outputs together
  constexpr std::int64_t kRows = 6;             // that the product takes at once
  const std::int64_t K = weights.size(1), N = weights.size(2);
  const WinogradMaps from = shape_of(x);
  WinogradMaps to = from;
  to.channels = N;
  const at::Tensor y = at::empty({to.batch, N, to.height, to.width},
                                 x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const std::int64_t tiles = from.num_tiles();
  const std::int64_t block =
      std::max<std::int64_t>(kBlock / (kProducts * (K + N)) / kRows, 2) * kRows;
  in_parallel((tiles + block - 1) / block, 1, [&](std::int64_t first, std::int64_t last) {
    const at::Tensor inputs = empty_tiles(block, K), outputs = empty_tiles(block, N);
    for (std::int64_t begin = first * block; begin < std::min(last * block, tiles);
         begin += block) {
      const std::int64_t end = std::min(begin + block, tiles);
      winograd_inputs(from, x.data_ptr<float>(), tiles_of(inputs, begin), is_turned, begin, end);
      for (std::int64_t i = 0; i < kProducts; ++i) {
        at::native::cpublas::brgemm(end - begin, N, K, K, N, N, /*add_C=*/false,
                                    inputs.data_ptr<float>() + i * inputs.stride(0),
                                    weights.data_ptr<float>() + i * K * N,
                                    outputs.data_ptr<float>() + i * outputs.stride(0));
      }
      winograd_outputs(to, tiles_of(outputs, begin), is_turned, host_data<float>(bias),
                       y.data_ptr<float>(), begin, end);
    }
    at::native::cpublas::brgemm_release();
  });
  return y;
}

at::Tensor weight_gradient(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& dy) {
  constexpr std::int64_t kChunk = 4 << 20;  // values: what the last level of the cache holds
  const WinogradWeights shape{weight.size(0), weight.size(1)};
  const WinogradMaps from = shape_of(x), to = shape_of(dy);
  const std::int64_t channels = shape.in + shape.out, tiles = from.num_tiles();
  const std::int64_t chunk = std::max<std::int64_t>(kChunk / (kProducts * channels), 64);
  at::Tensor transformed = at::empty({kProducts, shape.out, shape.in}, at::kFloat);
  for (std::int64_t begin = 0; begin < tiles; begin += chunk) {
    const std::int64_t count = std::min(chunk, tiles - begin);
    const at::Tensor inputs = empty_tiles(count, shape.in), outputs = empty_tiles(count, shape.out);
    in_parallel(count, kGrain / channels, [&](std::int64_t first, std::int64_t last) {
      winograd_inputs(from, x.data_ptr<float>(), tiles_of(inputs, begin), false, begin + first,
                      begin + last);
      winograd_output_gradients(to, dy.data_ptr<float>(), tiles_of(outputs, begin), begin + first,
                                begin + last);
    });
    if (begin == 0) {
      at::bmm_out(transformed, outputs.transpose(1, 2), inputs);
    } else {
      transformed.baddbmm_(outputs.transpose(1, 2), inputs);
    }
  }
  return give_gradient(weight, [&](at::Tensor& into, bool is_added) {
    over_outputs(shape, [&](std::int64_t begin, std::int64_t end) {
      winograd_weight_gradients(shape, transformed.data_ptr<float>(), into.data_ptr<float>(),
                                is_added, begin, end);
    });
  });
}

struct WinogradFunction : torch::autograd::Function<WinogradFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& given_bias) {
    const at::Tensor bias = maybe(given_bias);
    ctx->save_for_backward({x, weight, bias});
    return convolve(x, transform(weight, true), bias, false);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2];
    if (is_graph_created()) {
      return differentiable_gradients(ctx, saved, gradients, [](const variable_list& in) {
        return variable_list{plain_conv(in[0], {in[1], in[2], /*stride=*/1, /*padding=*/1})};
      });
    }
    const at::Tensor dy = channels_last(gradients[0]);
    at::Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) dx = convolve(dy, transform(weight, false), {}, true);
    if (ctx->needs_input_grad(1)) dw = weight_gradient(weight, x, dy);
    if (bias.defined() && ctx->needs_input_grad(2)) {
      db = give_gradient_of(bias, sum_of_columns(dy.permute({0, 2, 3, 1}).flatten(0, 2)));
    }
    return {dx, dw, db};
  }
};

}  // namespace

bool runs_in_winograd(const at::Tensor& x, const ConvWeights& weights) {
  const at::Tensor& weight = weights.weight;
  const auto is_wide = [](std::int64_t channels) { return channels >= 32 && channels % 8 == 0; };
  const bool is_fp32 = x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
  return has_avx512() && x.is_cpu() && is_fp32 && weight.is_contiguous() && weight.size(2) == 3 &&
         weight.size(3) == 3 && weights.stride == 1 && weights.padding == 1 &&
         is_wide(weight.size(0)) && is_wide(weight.size(1));
}

at::Tensor winograd_conv(const at::Tensor& x, const ConvWeights& weights) {
  return WinogradFunction::apply(channels_last(x), weights.weight, maybe(weights.bias));
}

}  // namespace kiln
