#include <algorithm>

#include "core/device/in_parallel.h"
#include "models/kernels/device/device_group_norm.h"
#include "models/kernels/host_group_norm.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Channels a call works on: rows of a few hundred bytes are read at a time, but every thread is to
// have its part.
constexpr std::int64_t kFewestChannels = 16, kMostChannels = 128;

/// [B, C, H, W] whose memory is [B, H, W, C].
struct GroupNormChoice : torch::CustomClassHolder {
  std::int64_t groups = 1;
  double eps = 0.0;
  bool has_silu = false;
};

template <typename T>
GroupNormMaps<T> maps_of(const GroupNormChoice& choice, const variable_list& in,
                         const at::Tensor& y, const at::Tensor& moments) {
  GroupNormMaps<T> maps;
  maps.pixels = in[0].size(2) * in[0].size(3);
  maps.channels = in[0].size(1);
  maps.groups = choice.groups;
  maps.x = host_data<T>(in[0]);
  maps.shift = host_data<T>(in[1]);
  maps.gamma = host_data<T>(in[2]);
  maps.beta = host_data<T>(in[3]);
  maps.eps = static_cast<float>(choice.eps);
  maps.has_silu = choice.has_silu;
  maps.y = host_data<T>(y);
  maps.mean = moments.data_ptr<float>();
  maps.rstd = maps.mean + in[0].size(0) * choice.groups;
  return maps;
}

/// call(sample, first group, end) over all groups, in strips.
template <typename Call>
void over_strips(const at::Tensor& x, std::int64_t groups, const Call& call) {
  const std::int64_t per_group = x.size(1) / groups;
  const std::int64_t channels =
      std::clamp(x.size(0) * x.size(1) / at::get_num_threads(), kFewestChannels, kMostChannels);
  const std::int64_t strip = std::max<std::int64_t>(1, channels / per_group);
  const std::int64_t strips = (groups + strip - 1) / strip;
  in_parallel(x.size(0) * strips, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % strips * strip;
      call(i / strips, first, std::min(groups, first + strip));
    }
  });
}

template <typename T>
at::Tensor device_scratch(const GroupNormMaps<T>& maps, const at::Tensor& x) {
  return at::empty({device_group_norm_scratch(x.size(0), maps.pixels, maps.channels, maps.groups)},
                   at::device(x.device()).dtype(at::kFloat));
}

struct GroupNormFunction : torch::autograd::Function<GroupNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x,
                            const std::optional<at::Tensor>& shift, const at::Tensor& gamma,
                            const at::Tensor& beta,
                            const c10::intrusive_ptr<GroupNormChoice>& choice) {
    const variable_list in = {x, maybe(shift), gamma, beta};
    const at::Tensor y = at::empty_like(x, at::MemoryFormat::ChannelsLast);
    const at::Tensor moments =
        at::empty({2, x.size(0), choice->groups}, at::device(x.device()).dtype(at::kFloat));
    with_host_type(x, [&](auto zero) {
      const auto maps = maps_of<decltype(zero)>(*choice, in, y, moments);
      if (x.is_cuda()) {
        const at::Tensor scratch = device_scratch(maps, x);
        return device_group_norm(maps, x.size(0), scratch.data_ptr<float>(), device_stream(x));
      }
      over_strips(x, choice->groups, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
        group_norm_forward(maps, b, begin, end);
      });
    });
    ctx->save_for_backward({x, in[1], gamma, beta, moments});
    ctx->saved_data["choice"] = c10::IValue::make_capsule(choice);
    return y;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const auto capsule = ctx->saved_data["choice"].toCapsule();
    const auto& choice = static_cast<const GroupNormChoice&>(*capsule);
    const at::Tensor& x = saved[0];
    if (is_graph_created()) {
      const auto plain = [&](const variable_list& in) {
        return variable_list{plain_group_norm({.x = in[0],
                                               .gamma = in[2],
                                               .beta = in[3],
                                               .shift = in[1],
                                               .groups = choice.groups,
                                               .eps = choice.eps,
                                               .has_silu = choice.has_silu})};
      };
      return differentiable_gradients(ctx, {x, saved[1], saved[2], saved[3]}, gradients, plain);
    }
    const at::Tensor dy = channels_last(gradients[0]);
    const at::Tensor dx = at::empty_like(x, at::MemoryFormat::ChannelsLast);
    const at::Tensor sums =
        at::empty({3, x.size(0), x.size(1)}, at::device(x.device()).dtype(at::kFloat));
    float* dgamma = sums.data_ptr<float>();
    const std::int64_t row = sums.stride(0);
    float* dshift = saved[1].defined() ? dgamma + 2 * row : nullptr;
    with_host_type(x, [&](auto zero) {
      using T = decltype(zero);
      const auto maps = maps_of<T>(choice, saved, {}, saved[4]);
      if (x.is_cuda()) {
        const at::Tensor scratch = device_scratch(maps, x);
        return device_group_norm_backward(maps, host_data<T>(dy), host_data<T>(dx), dgamma,
                                          dgamma + row, dshift, x.size(0),
                                          scratch.data_ptr<float>(), device_stream(x));
      }
      over_strips(x, choice.groups, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
        group_norm_backward(maps, host_data<T>(dy), host_data<T>(dx), dgamma, dgamma + row, dshift,
                            b, begin, end);
      });
    });
    // On a GPU in one launch.
    const at::Tensor both = x.is_cuda() ? sums.narrow(0, 0, 2).sum(1) : at::Tensor();
    const auto total = [&](std::int64_t i) {
      return both.defined() ? both[i] : sum_of_columns(sums[i]);
    };
    return {dx, dshift ? sums[2].to(saved[1].scalar_type()) : at::Tensor(),
            give_gradient_of(saved[2], total(0)), give_gradient_of(saved[3], total(1)),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor plain_group_norm(const GroupNormInput& in) {
  const at::Tensor x = in.shift.defined() ? in.x + in.shift.unsqueeze(-1).unsqueeze(-1) : in.x;
  const at::Tensor y = at::group_norm(x, in.groups, in.gamma, in.beta, in.eps);
  return in.has_silu ? at::silu(y) : y;
}

at::Tensor fused_group_norm(const GroupNormInput& in) {
  const bool is_shift_taken = !in.shift.defined() || in.shift.scalar_type() == in.x.scalar_type();
  if (!runs_in_loops(in.x) || in.x.dim() != 4 || in.x.numel() == 0 ||
      in.x.scalar_type() != in.gamma.scalar_type() || !is_shift_taken) {
    return plain_group_norm(in);
  }
  auto choice = c10::make_intrusive<GroupNormChoice>();
  choice->groups = in.groups;
  choice->eps = in.eps;
  choice->has_silu = in.has_silu;
  const at::Tensor shift = in.shift.defined() ? in.shift.contiguous() : at::Tensor();
  return GroupNormFunction::apply(channels_last(in.x), maybe(shift), in.gamma, in.beta, choice);
}

}  // namespace kiln
