#include "models/operators/attention_choice.h"

#include <fmt/format.h>

#include "core/report/log.h"
#include "models/kernels/device/device_timing.h"
#include "models/operators/host_tensors.h"

namespace kiln {
namespace {

bool needs_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return at::GradMode::is_enabled() &&
         (q.requires_grad() || k.requires_grad() || v.requires_grad());
}

void seed_generator(at::Device device, std::uint64_t seed) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(seed);
}

}  // namespace

std::size_t AttentionChoice::choose(const Shape& shape, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const at::Tensor& mask) {
  std::string times;
  const auto seconds_of = [&](std::size_t number) {
    // Apart from the graph of the caller.
    const auto leaf = [&](const at::Tensor& x) {
      return x.detach().requires_grad_(shape.has_backward);
    };
    const at::Tensor own_q = leaf(q), own_k = leaf(k), own_v = leaf(v);
    const double seconds = measure_([&] {
      const at::Tensor out =
          ways_[number].attend(own_q, own_k, own_v, mask, shape.p, shape.is_causal);
      if (shape.has_backward) {
        torch::autograd::grad({out}, {own_q, own_k, own_v}, {at::ones_like(out)});
      }
    });
    times +=
        fmt::format("{}{} {:.3f} ms", times.empty() ? "" : ", ", ways_[number].name, seconds * 1e3);
    return seconds;
  };
  const std::size_t choice = choices_.choose(shape, ways_.size(), seconds_of).value_or(0);
  if (!times.empty()) {
    log_info("attention [B {}, H {}, L {}, S {}, d {}] {}{}{}{}{}: {} ({})", shape.B, shape.H,
             shape.L, shape.S, shape.d, c10::toString(shape.type), shape.has_mask ? ", mask" : "",
             shape.is_causal ? ", causal" : "", shape.p > 0.0 ? ", dropout" : "",
             shape.has_backward ? "" : ", forward", ways_[choice].name, times);
  }
  return choice;
}

at::Tensor AttentionChoice::attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& mask, AttentionDropout dropout,
                                   bool is_causal) {
  const Shape shape{.type = q.scalar_type(),
                    .device = q.device().index(),
                    .B = q.size(0),
                    .H = q.size(1),
                    .L = q.size(2),
                    .S = k.size(2),
                    .d = q.size(3),
                    .has_mask = mask.defined(),
                    .is_causal = is_causal,
                    .has_backward = needs_backward(q, k, v),
                    .p = dropout.p};
  std::size_t choice = 0;
  if (q.is_cuda() && is_capturing()) {
    choice = choices_.known(shape).value_or(0);
  } else if (!at::globalContext().deterministicAlgorithms()) {
    choice = choose(shape, q, k, v, mask);
  }
  if (dropout.p > 0.0) seed_generator(q.device(), dropout.seed);
  return ways_[choice].attend(q, k, v, mask, dropout.p, is_causal);
}

std::vector<AttentionWay> device_attention_ways() {
  // The operators themselves: LibTorch's order of preference is set anew by its first call. Each
  // keeps the log-sum-exp where it is asked to, for backward.
  using T = const at::Tensor&;
  return {
      {"LibTorch's own",
       [](T q, T k, T v, T mask, double p, bool is_causal) {
         return at::scaled_dot_product_attention(q, k, v, maybe(mask), p, is_causal);
       }},
      {"cuDNN",
       [](T q, T k, T v, T mask, double p, bool is_causal) {
         // In fp32 the operator does not refuse: its result is undefined.
         TORCH_CHECK(q.element_size() == 2, "cuDNN's attention takes 16 bits");
         return std::get<0>(at::_scaled_dot_product_cudnn_attention(
             q, k, v, maybe(mask), needs_backward(q, k, v), p, is_causal));
       }},
      {"flash",
       [](T q, T k, T v, T mask, double p, bool is_causal) {
         TORCH_CHECK(!mask.defined(), "flash attention takes no mask");
         return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, p, is_causal));
       }},
      {"memory-efficient",
       [](T q, T k, T v, T mask, double p, bool is_causal) {
         const at::Tensor bias =
             mask.defined() ? mask.expand({q.size(0), q.size(1), q.size(2), k.size(2)}) : mask;
         return std::get<0>(at::_scaled_dot_product_efficient_attention(
             q, k, v, maybe(bias), needs_backward(q, k, v), p, is_causal));
       }},
      {"products",
       [](T q, T k, T v, T mask, double p, bool is_causal) {
         return std::get<0>(
             at::_scaled_dot_product_attention_math(q, k, v, maybe(mask), p, is_causal));
       }},
  };
}

AttentionChoice& device_attention() {
  static AttentionChoice choice(device_attention_ways(), device_seconds);
  return choice;
}

}  // namespace kiln
