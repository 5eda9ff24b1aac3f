#include "core/device/in_parallel.h"
#include "models/kernels/device/device_softmax.h"
#include "models/kernels/host_softmax.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/precision.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// table[id] += dy row, rows in order: by columns, so that threads share no element.
void add_rows(const at::Tensor& table, const at::Tensor& ids, const at::Tensor& dy) {
  const std::int64_t rows = dy.size(0), cols = dy.size(1);
  const auto* id = ids.const_data_ptr<std::int64_t>();
  with_host_type(dy, [&](auto zero) {
    using T = decltype(zero);
    T* to = host_data<T>(table);
    const T* from = host_data<T>(dy);
    constexpr std::int64_t kGrainColumns = 64;
    in_parallel(cols, kGrainColumns, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = 0; row < rows; ++row) {
        add_to_row(from + row * cols + begin, to + id[row] * cols + begin, end - begin);
      }
    });
  });
}

struct EmbeddingFunction : torch::autograd::Function<EmbeddingFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& table, const at::Tensor& ids) {
    ctx->save_for_backward({table, ids});
    return at::embedding(table, ids);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    if (is_graph_created()) {
      return differentiable_gradients(ctx, saved, gradients, [](const variable_list& in) {
        return variable_list{at::embedding(in[0], in[1])};
      });
    }
    const at::Tensor dy = gradients[0].reshape({-1, saved[0].size(1)}).contiguous();
    const at::Tensor ids = saved[1].reshape({-1}).contiguous();
    const auto contribution = [&](at::Tensor& into, bool is_added) {
      if (!is_added) into.zero_();
      add_rows(into, ids, dy);
    };
    return {give_gradient(saved[0], contribution), at::Tensor()};
  }
};

struct CrossEntropyFunction : torch::autograd::Function<CrossEntropyFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& logits,
                               const at::Tensor& labels) {
    const std::int64_t rows = logits.size(0), cols = logits.size(1);
    const at::TensorOptions fp32 = logits.options().dtype(at::kFloat);
    const at::Tensor lse = at::empty({rows}, fp32), losses = at::empty({rows}, fp32);
    const at::Tensor best = at::empty({rows}, labels.options());
    const auto* label = labels.const_data_ptr<std::int64_t>();
    with_host_type(logits, [&](auto zero) {
      using T = decltype(zero);
      const T* in = host_data<T>(logits);
      if (logits.is_cuda()) {
        return device_cross_entropy(in, label, rows, cols, lse.data_ptr<float>(),
                                    losses.data_ptr<float>(), best.data_ptr<std::int64_t>(),
                                    device_stream(logits));
      }
      in_parallel(rows, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const RowPeak peak = log_sum_exp(in + row * cols, cols);
          lse.data_ptr<float>()[row] = peak.log_sum;
          best.data_ptr<std::int64_t>()[row] = peak.index;
          losses.data_ptr<float>()[row] = peak.log_sum - load(in[row * cols + label[row]]);
        }
      });
    });
    ctx->save_for_backward({logits, labels, lse});
    const at::Tensor hits = best.eq(labels).sum();
    ctx->mark_non_differentiable({hits});
    return {losses.sum(), hits};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &logits = saved[0], &lse = saved[2];
    if (is_graph_created()) {
      const auto plain = [](const variable_list& in) {
        return variable_list{plain_cross_entropy(in[0], in[1]).sum};
      };
      return differentiable_gradients(ctx, {logits, saved[1]}, gradients, plain);
    }
    const std::int64_t rows = logits.size(0), cols = logits.size(1);
    const at::Tensor factor = gradients[0].to(at::kFloat).contiguous();
    const at::Tensor d = at::empty_like(logits);
    const auto* label = saved[1].const_data_ptr<std::int64_t>();
    with_host_type(logits, [&](auto zero) {
      using T = decltype(zero);
      const T* in = host_data<T>(logits);
      T* out = host_data<T>(d);
      if (logits.is_cuda()) {
        return device_cross_entropy_backward(in, label, lse.data_ptr<float>(),
                                             factor.data_ptr<float>(), out, rows, cols,
                                             device_stream(logits));
      }
      const float by = *factor.const_data_ptr<float>();
      in_parallel(rows, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          softmax_gradient(in + row * cols, out + row * cols, cols, lse.data_ptr<float>()[row], by,
                           label[row]);
        }
      });
    });
    return {d, at::Tensor()};
  }
};

}  // namespace

at::Tensor fused_embedding(const at::Tensor& table, const at::Tensor& ids) {
  const bool is_trained = at::GradMode::is_enabled() && table.requires_grad();
  if (!runs_in_host_loops(table) || !is_trained) return at::embedding(table, ids);
  return EmbeddingFunction::apply(table, ids);
}

CrossEntropy plain_cross_entropy(const at::Tensor& logits, const at::Tensor& labels) {
  const at::Tensor wide = at_least_fp32(logits);
  CrossEntropy result;
  result.sum = at::cross_entropy_loss(wide, labels, {}, at::Reduction::Sum);
  const at::NoGradGuard no_grad;
  result.hits = logits.argmax(-1).eq(labels).sum();
  return result;
}

CrossEntropy fused_cross_entropy(const at::Tensor& logits, const at::Tensor& labels) {
  if (!runs_in_loops(logits)) return plain_cross_entropy(logits, labels);
  const auto out = CrossEntropyFunction::apply(logits.contiguous(), labels.contiguous());
  return {out[0], out[1]};
}

}  // namespace kiln
