#include <c10/core/impl/VirtualGuardImpl.h>

#include "core/device/in_parallel.h"
#include "models/kernels/device/device_loops.h"
#include "models/kernels/device/device_matmul.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/matmul.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor as_rows(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); }

struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& given_bias) {
    const at::Tensor bias = maybe(given_bias);
    ctx->save_for_backward({x, weight, bias});
    std::vector<std::int64_t> shape = x.sizes().vec();
    shape.back() = weight.size(0);
    return linear_product(as_rows(x), weight, bias).view(shape);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    if (is_graph_created()) {
      return differentiable_gradients(ctx, saved, gradients, [](const variable_list& in) {
        return variable_list{linear_product(in[0], in[1], in[2])};
      });
    }
    const at::Tensor &weight = saved[1], &bias = saved[2];
    const at::Tensor x = as_rows(saved[0]), dy = as_rows(gradients[0]);
    at::Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) dx = matrix_product(dy, weight).view(saved[0].sizes());
    const bool has_db = bias.defined() && ctx->needs_input_grad(2);
    at::Tensor sums;
    if (ctx->needs_input_grad(1)) {
      dw = give_weight_gradient(weight, dy, x, has_db ? &sums : nullptr);
    }
    if (has_db) db = give_gradient_of(bias, sums.defined() ? sums : sum_of_columns(dy));
    return {dx, dw, db};
  }
};

/// Element-wise over rows in parallel; what the loop writes lies in the tensors.
template <typename Function>
void over_rows(std::int64_t rows, const Function& function) {
  constexpr std::int64_t kGrainRows = 16;
  in_parallel(rows, kGrainRows, function);
}

// u (with the bias in it) and gelu(u).
struct HiddenLayer {
  at::Tensor u, a;
};

// In one product. Undefined where there is no such product.
HiddenLayer multiplied_hidden_layer(const at::Tensor& x, const at::Tensor& weight,
                                    const at::Tensor& bias) {
  const HiddenLayer hidden{at::empty({x.size(0), weight.size(0)}, x.options()),
                           at::empty({x.size(0), weight.size(0)}, x.options())};
  const at::Tensor w = weight.contiguous(), b = bias.contiguous();
  const bool is_done = device_matmul(gelu_shape(x.size(0), x.size(1), weight.size(0)),
                                     {.a = w.data_ptr(),
                                      .b = x.data_ptr(),
                                      .d = hidden.a.data_ptr(),
                                      .bias = b.data_ptr(),
                                      .aux = hidden.u.data_ptr(),
                                      .is_bf16 = x.scalar_type() == at::kBFloat16});
  return is_done ? hidden : HiddenLayer();
}

HiddenLayer hidden_layer(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         bool is_tanh) {
  if (x.is_cuda() && is_tanh) {  // the only form of GELU that cuBLASLt knows
    HiddenLayer hidden = multiplied_hidden_layer(x, weight, bias);
    if (hidden.u.defined()) return hidden;
  }
  // oneDNN, which multiplies bf16, adds the bias while it still has the sums in fp32.
  // So does a GPU's library.
  const bool is_bias_added = x.is_cuda() || x.scalar_type() == at::kBFloat16;
  const at::Tensor u =
      is_bias_added ? linear_product(x, weight, bias) : matrix_product(x, weight.t());
  const at::Tensor a = at::empty_like(u);
  const std::int64_t cols = u.size(1);
  with_host_type(u, [&](auto zero) {
    using T = decltype(zero);
    T* in = host_data<T>(u);
    T* out = host_data<T>(a);
    const T* added = is_bias_added ? nullptr : host_data<T>(bias);
    if (u.is_cuda()) {
      return device_bias_gelu<T>(in, added, out, u.size(0), cols, is_tanh, device_stream(u));
    }
    over_rows(u.size(0), [&](std::int64_t begin, std::int64_t end) {
      bias_gelu(in + begin * cols, added, out + begin * cols, end - begin, cols, is_tanh);
    });
  });
  return {u, a};
}

// Of u, with gelu(u) again: to keep that from the forward pass would cost nearly as much memory
// again as u and x do.
struct HiddenGradient {
  at::Tensor du, a;
};

HiddenGradient hidden_gradient(const at::Tensor& u, const at::Tensor& dy, const at::Tensor& w2,
                               bool is_tanh) {
  const at::Tensor d = matrix_product(dy, w2);  // [N, F], of gelu(u) and then of u
  const at::Tensor a = at::empty_like(u);
  with_host_type(u, [&](auto zero) {
    using T = decltype(zero);
    const T* in = host_data<T>(u);
    T *slope = host_data<T>(d), *out = host_data<T>(a);
    const std::int64_t cols = u.size(1);
    if (u.is_cuda()) {
      return device_gelu_backward<T>(in, slope, out, u.numel(), is_tanh, device_stream(u));
    }
    over_rows(u.size(0), [&](std::int64_t begin, std::int64_t end) {
      gelu_backward(in + begin * cols, slope + begin * cols, out + begin * cols,
                    (end - begin) * cols, is_tanh);
    });
  });
  return {d, a};
}

struct MlpFunction : torch::autograd::Function<MlpFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& w1,
                            const at::Tensor& b1, const at::Tensor& w2, bool is_tanh) {
    const auto [u, a] = hidden_layer(as_rows(x), w1, b1, is_tanh);
    ctx->save_for_backward({x, w1, b1, w2, u});
    ctx->saved_data["is_tanh"] = is_tanh;
    std::vector<std::int64_t> shape = x.sizes().vec();
    shape.back() = w2.size(0);
    return matrix_product(a, w2.t()).view(shape);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &w1 = saved[1], &b1 = saved[2], &w2 = saved[3], &u = saved[4];
    const bool is_tanh = ctx->saved_data["is_tanh"].toBool();
    if (is_graph_created()) {
      const auto plain = [&](const variable_list& in) {
        return variable_list{plain_mlp(in[0], {in[1], in[2], in[3]}, is_tanh)};
      };
      return differentiable_gradients(ctx, {saved[0], w1, b1, w2}, gradients, plain);
    }
    const at::Tensor x = as_rows(saved[0]), dy = as_rows(gradients[0]);
    const auto [d, a] = hidden_gradient(u, dy, w2, is_tanh);
    at::Tensor sums;  // of d's columns
    // In the order in which the flat memory has them: w2, then b1 and w1.
    const at::Tensor dw2 = give_weight_gradient(w2, dy, a);
    const at::Tensor dw1 = give_weight_gradient(w1, d, x, &sums);
    const at::Tensor db1 = give_gradient_of(b1, sums.defined() ? sums : sum_of_columns(d));
    const at::Tensor dx = matrix_product(d, w1).view(saved[0].sizes());
    return {dx, dw1, db1, dw2, at::Tensor()};
  }
};

}  // namespace

bool runs_in_host_loops(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

bool runs_in_device_loops(const at::Tensor& x) {
  return x.is_cuda() && has_device_loops() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

bool runs_in_loops(const at::Tensor& x) { return runs_in_host_loops(x) || runs_in_device_loops(x); }

void* device_stream(const at::Tensor& x) {
  return c10::impl::VirtualGuardImpl(x.device().type()).getStream(x.device()).native_handle();
}

at::Tensor sum_of_columns(const at::Tensor& x) {
  if (!runs_in_host_loops(x)) {
    return x.sum(0, false, x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  }
  const std::int64_t rows = x.size(0), cols = x.size(1);
  const at::Tensor sums = at::empty({cols}, at::kFloat);
  float* out = sums.data_ptr<float>();
  with_host_type(x, [&](auto zero) {
    using T = decltype(zero);
    const T* in = host_data<T>(x);
    constexpr std::int64_t kGrainColumns = 64;
    in_parallel(cols, kGrainColumns, [&](std::int64_t begin, std::int64_t end) {
      column_sums(in + begin, cols, rows, end - begin, out + begin);
    });
  });
  return sums;
}

at::Tensor fused_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (x.is_meta() || x.scalar_type() != weight.scalar_type())
    return linear_product(x, weight, bias);
  return LinearFunction::apply(x.contiguous(), weight, maybe(bias));
}

at::Tensor plain_mlp(const at::Tensor& x, const MlpWeights& w, bool is_tanh) {
  return linear_product(at::gelu(linear_product(x, w.w1, w.b1), is_tanh ? "tanh" : "none"), w.w2,
                        {});
}

at::Tensor fused_mlp(const at::Tensor& x, const MlpWeights& w, bool is_tanh) {
  const bool is_trained = w.w1.requires_grad() && w.b1.requires_grad() && w.w2.requires_grad();
  const bool needs_none = !at::GradMode::is_enabled();
  if (!runs_in_loops(x) || !(is_trained || needs_none)) return plain_mlp(x, w, is_tanh);
  return MlpFunction::apply(x.contiguous(), w.w1, w.b1, w.w2, is_tanh);
}

}  // namespace kiln
