#include <cmath>

#include "core/device/in_parallel.h"
#include "models/kernels/device/device_maps.h"
#include "models/kernels/host_attention.h"
#include "models/operators/attend.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct HeadChoice : torch::CustomClassHolder {
  std::int64_t heads = 1;
  bool is_causal = false;
  std::optional<DropoutSite> keep;
  at::Tensor
      mask;  // bool [B or 1, H or 1, L or 1, L or 1] as strides of [B, H, L, L], or undefined
};

/// mix(q, k, v) of packed heads [B, L, 3D], with q, k and v [B, H, L, d] -> [B, L, D].
template <typename Mix>
at::Tensor over_heads(const at::Tensor& qkv, std::int64_t heads, const Mix& mix) {
  const std::int64_t B = qkv.size(0), L = qkv.size(1), D = qkv.size(2) / 3;
  const auto parts = qkv.view({B, L, 3, heads, D / heads})
                         .permute({2, 0, 3, 1, 4})  // [3, B, H, L, d]
                         .unbind(0);
  return mix(parts[0], parts[1], parts[2]).transpose(1, 2).reshape({B, L, D});
}

template <typename T>
AttentionHead<T> head_of(const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& lse,
                         const HeadChoice& choice, std::int64_t b, std::int64_t h) {
  const std::int64_t L = qkv.size(1), D = qkv.size(2) / 3, H = choice.heads;
  AttentionHead<T> head;
  head.L = head.S = L;
  head.d = D / H;
  head.q = host_data<T>(qkv) + b * L * 3 * D + h * head.d;
  head.k = head.q + D;
  head.v = head.q + 2 * D;
  head.stride = 3 * D;
  head.out = host_data<T>(out) + b * L * D + h * head.d;
  head.out_stride = D;
  head.lse = lse.data_ptr<float>() + (b * H + h) * L;
  head.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head.d)));
  if (choice.mask.defined()) {
    const at::Tensor& mask = choice.mask;
    head.mask = mask.const_data_ptr<bool>() + b * mask.stride(0) + h * mask.stride(1);
    head.mask_row_stride = mask.stride(2);
    head.mask_column_stride = mask.stride(3);
  }
  head.is_causal = choice.is_causal;
  if (choice.keep) head.keep = &*choice.keep;
  head.first_element = (b * H + h) * L * L;
  return head;
}

struct SelfAttention : torch::autograd::Function<SelfAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv,
                            const c10::intrusive_ptr<HeadChoice>& choice) {
    const std::int64_t B = qkv.size(0), L = qkv.size(1), H = choice->heads;
    const at::Tensor out = at::empty({B, L, qkv.size(2) / 3}, qkv.options());
    const at::Tensor lse = at::empty({B, H, L}, at::kFloat);
    with_host_type(qkv, [&](auto zero) {
      using T = decltype(zero);
      in_parallel(B * H, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          attend_forward(head_of<T>(qkv, out, lse, *choice, i / H, i % H));
        }
      });
    });
    ctx->save_for_backward({qkv, out, lse});
    ctx->saved_data["choice"] = c10::IValue::make_capsule(choice);
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["choice"].toCapsule();
    const auto& choice = static_cast<const HeadChoice&>(*capsule);
    const at::Tensor& qkv = saved[0];
    if (is_graph_created()) {
      const auto products = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
        return attend_by_products(q, k, v, choice.mask, choice.keep, choice.is_causal);
      };
      return differentiable_gradients(ctx, {qkv}, gradients, [&](const variable_list& in) {
        return variable_list{over_heads(in[0], choice.heads, products)};
      });
    }
    const at::Tensor dout = gradients[0].contiguous();
    const at::Tensor dqkv = at::empty_like(qkv);
    const std::int64_t B = qkv.size(0), H = choice.heads;
    with_host_type(qkv, [&](auto zero) {
      using T = decltype(zero);
      in_parallel(B * H, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto head = head_of<T>(qkv, saved[1], saved[2], choice, i / H, i % H);
          T* dq = host_data<T>(dqkv) + (head.q - host_data<T>(qkv));
          const T* given = host_data<T>(dout) + (head.out - host_data<T>(saved[1]));
          attend_backward(head, given, dq, dq + (head.k - head.q), dq + (head.v - head.q));
        }
      });
    });
    return {dqkv, at::Tensor()};
  }
};

/// qkv [B, L, 3 D] as q, k and v [B, H, L, d] in the same memory. Where autograd takes it apart, it
/// puts the gradients together again in two passes, neither of them a quick one.
struct SplitHeads : torch::autograd::Function<SplitHeads> {
  static variable_list forward(AutogradContext*, const at::Tensor& qkv, std::int64_t heads) {
    const std::int64_t B = qkv.size(0), L = qkv.size(1), D = qkv.size(2) / 3;
    variable_list parts;
    for (int part = 0; part < 3; ++part) {
      // Not a view in the eyes of autograd, which would want to follow it.
      at::Tensor own = at::empty({0}, qkv.options());
      own.set_(qkv.storage(), qkv.storage_offset() + part * D, {B, heads, L, D / heads},
               {L * 3 * D, D / heads, 3 * D, 1});
      parts.push_back(own);
    }
    return parts;
  }
  static variable_list backward(AutogradContext*, const variable_list& gradients) {
    if (is_graph_created()) {
      variable_list parts;
      for (const at::Tensor& part : gradients) parts.push_back(part.transpose(1, 2).flatten(2));
      return {at::cat(parts, 2), at::Tensor()};
    }
    const at::Tensor& dq = gradients[0];
    const std::int64_t B = dq.size(0), L = dq.size(2), D = dq.size(1) * dq.size(3);
    const at::Tensor dqkv = at::empty({B, L, 3 * D}, dq.options());
    with_host_type(dqkv, [&](auto zero) {
      using T = decltype(zero);
      T* to = host_data<T>(dqkv);
      for (const at::Tensor& part : gradients) {
        const at::Tensor rows = part.transpose(1, 2).contiguous();  // [B, L, H, d]
        device_copy_columns<T>(host_data<T>(rows), D, to, 3 * D, B * L, D, device_stream(dqkv));
        to += D;
      }
    });
    return {dqkv, at::Tensor()};
  }
};

}  // namespace

at::Tensor plain_self_attend(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& mask,
                             double p, DropoutStream& drop, bool is_causal) {
  return over_heads(qkv, heads, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attend(q, k, v, mask, p, drop, is_causal);
  });
}

at::Tensor fused_self_attend(const at::Tensor& qkv, std::int64_t heads, const at::Tensor& mask,
                             double p, DropoutStream& drop, bool is_causal) {
  if (runs_in_device_loops(qkv)) {
    const std::int64_t B = qkv.size(0), L = qkv.size(1), D = qkv.size(2) / 3;
    const auto parts = SplitHeads::apply(qkv.contiguous(), heads);
    const at::Tensor mixed = attend(parts[0], parts[1], parts[2], mask, p, drop, is_causal);
    return mixed.transpose(1, 2).reshape({B, L, D});
  }
  const bool is_mask_taken = !mask.defined() || (mask.scalar_type() == at::kBool &&
                                                 mask.dim() == 4 && mask.device().is_cpu());
  if (!runs_in_host_loops(qkv) || !is_mask_taken) {
    return plain_self_attend(qkv, heads, mask, p, drop, is_causal);
  }
  auto choice = c10::make_intrusive<HeadChoice>();
  choice->heads = heads;
  choice->is_causal = is_causal;
  choice->keep = drop.site(p);
  const std::int64_t B = qkv.size(0), L = qkv.size(1);
  if (mask.defined()) choice->mask = mask.expand({B, heads, L, L});
  return SelfAttention::apply(qkv.contiguous(), choice);
}

}  // namespace kiln
