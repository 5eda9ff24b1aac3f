#include <array>

#include "core/base/error.h"
#include "core/device/in_parallel.h"
#include "models/kernels/device/device_residual_norm.h"
#include "models/kernels/row_chunks.h"
#include "models/operators/fused.h"
#include "models/operators/host_tensors.h"
#include "models/operators/leaf_gradient.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kGrainRows = 16;

struct NormChoice : torch::CustomClassHolder {
  double eps = 0.0;
  double gamma_offset = 0.0;
  bool has_norm = true;
  std::optional<DropoutSite> keep;
  std::int64_t rows_per_group = 0;
};

bool is_per_sample(const at::Tensor& x) { return x.defined() && x.dim() == 3; }

/// Operands of the loops. The tensors must outlive it.
template <typename T>
ResidualNorm<T> operands(const NormChoice& choice, const variable_list& in, const at::Tensor& h,
                         const at::Tensor& n, const at::Tensor& moments) {
  const at::Tensor &x = in[0], &gate = in[3], &gamma = in[4], &beta = in[5];
  ResidualNorm<T> a;
  a.cols = x.size(-1);
  a.rows_per_group = choice.rows_per_group;
  a.x = host_data<T>(x);
  a.y = host_data<T>(in[1]);
  a.bias = host_data<T>(in[2]);
  a.gate = host_data<T>(gate);
  a.gate_stride = gate.defined() ? gate.stride(0) : 0;
  a.keep = choice.keep ? &*choice.keep : nullptr;
  a.gamma = host_data<T>(gamma);
  a.beta = host_data<T>(beta);
  a.affine_stride = is_per_sample(gamma) ? gamma.stride(0) : 0;
  a.gamma_offset = static_cast<float>(choice.gamma_offset);
  a.eps = static_cast<float>(choice.eps);
  a.h = host_data<T>(h);
  a.n = host_data<T>(n);
  a.mean = host_data<float>(moments);
  a.rstd = moments.defined() ? a.mean + moments.size(1) : nullptr;
  return a;
}

/// Sums over the rows of chunks, [chunks, D] each, and of them those over rows or groups.
class ChunkSums {
 public:
  ChunkSums(std::array<bool, 4> wanted, std::int64_t chunks, std::int64_t cols, at::Device device) {
    std::int64_t count = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) places_[i] = wanted[i] ? count++ : -1;
    const auto options = at::TensorOptions(device).dtype(at::kFloat);
    // The host's loops add to them, the device's kernel writes them.
    sums_ = device.is_cpu() ? at::zeros({count, chunks, cols}, options)
                            : at::empty({count, chunks, cols}, options);
  }
  float* pointer(std::size_t index) const {
    return places_[index] < 0 ? nullptr : sums_[places_[index]].data_ptr<float>();
  }
  /// Of number `index` for a leaf of `like`'s shape: [D], or [B, 1, D] by sample.
  at::Tensor gradient(std::size_t index, const at::Tensor& like, std::int64_t groups) {
    if (places_[index] < 0) return {};
    const std::int64_t place = places_[index], chunks = sums_.size(1), cols = sums_.size(2);
    if (is_per_sample(like)) {
      return sums_[place].view({groups, chunks / groups, cols}).sum(1, true).to(like.scalar_type());
    }
    if (sums_.is_cpu()) return give_gradient_of(like, sum_of_columns(sums_[place]));
    if (!totals_.defined()) totals_ = sums_.sum(1);  // all of them at once: fewer launches
    return give_gradient_of(like, totals_[place]);
  }

 private:
  std::array<std::int64_t, 4> places_{};
  at::Tensor sums_, totals_;
};

struct ResidualNormFunction : torch::autograd::Function<ResidualNormFunction> {
  using Maybe = std::optional<at::Tensor>;
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const Maybe& given_y,
                               const Maybe& given_bias, const Maybe& given_gate,
                               const Maybe& given_gamma, const Maybe& given_beta,
                               const c10::intrusive_ptr<NormChoice>& choice) {
    const at::Tensor y = maybe(given_y), bias = maybe(given_bias), gate = maybe(given_gate),
                     gamma = maybe(given_gamma), beta = maybe(given_beta);
    const variable_list in = {x, y, bias, gate, gamma, beta};
    const std::int64_t rows = x.numel() / x.size(-1);
    const at::Tensor h = y.defined() ? at::empty_like(x) : at::Tensor();
    const at::Tensor n = choice->has_norm ? at::empty_like(x) : at::Tensor();
    const at::Tensor moments =
        choice->has_norm ? at::empty({2, rows}, x.options().dtype(at::kFloat)) : at::Tensor();
    with_host_type(x, [&](auto zero) {
      const auto a = operands<decltype(zero)>(*choice, in, h, n, moments);
      if (x.is_cuda()) return device_residual_norm(a, choice->keep, rows, device_stream(x));
      in_parallel(rows, kGrainRows,
                  [&](std::int64_t begin, std::int64_t end) { residual_norm(a, begin, end); });
    });
    // Of y only the gate's gradient has need.
    const at::Tensor kept_y = gate.defined() ? y : at::Tensor();
    const at::Tensor kept_h = choice->has_norm ? (h.defined() ? h : x) : at::Tensor();
    ctx->save_for_backward({kept_h, kept_y, bias, gate, gamma, beta, moments});
    ctx->saved_data["choice"] = c10::IValue::make_capsule(choice);
    ctx->saved_data["has_y"] = y.defined();
    ctx->set_materialize_grads(false);
    variable_list out;
    if (h.defined()) out.push_back(h);
    if (n.defined()) out.push_back(n);
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients);
};

struct Wanted {
  at::Tensor dh, dn;
};

Wanted gradients_of(const variable_list& gradients, bool has_y, bool has_norm) {
  Wanted wanted;
  if (has_y && gradients[0].defined()) wanted.dh = gradients[0].contiguous();
  if (has_norm && gradients.back().defined()) wanted.dn = gradients.back().contiguous();
  return wanted;
}

/// The same gradients in LibTorch's operations. x and y are not kept, and need not be: all follow
/// from h, which is the norm's input, and from y where there is a gate.
variable_list plain_backward(const NormChoice& choice, const variable_list& saved, bool has_y,
                             const Wanted& given) {
  const at::Tensor &h = saved[0], &bias = saved[2], &gate = saved[3];
  at::Tensor dx = given.dh, dy, dbias, dgate, dgamma, dbeta;
  if (given.dn.defined()) {
    const auto is_trained = [](const at::Tensor& x) { return x.defined() && x.requires_grad(); };
    const auto norm = [&](const variable_list& in) {
      DropoutStream none;
      return variable_list{plain_residual_norm({.x = in[0],
                                                .gamma = in[1],
                                                .beta = in[2],
                                                .eps = choice.eps,
                                                .gamma_offset = choice.gamma_offset},
                                               none)
                               .n};
    };
    const variable_list of_norm = differentiable_gradients(
        {h, saved[4], saved[5]}, {is_trained(h), is_trained(saved[4]), is_trained(saved[5])},
        {given.dn}, norm);
    dgamma = of_norm[1];
    dbeta = of_norm[2];
    if (of_norm[0].defined()) dx = dx.defined() ? dx + of_norm[0] : of_norm[0];
  }
  if (has_y && dx.defined()) {
    const at::Tensor keep =
        choice.keep ? keep_factors(*choice.keep, dx.sizes(), dx.options()) : at::Tensor();
    const auto dropped = [&](const at::Tensor& x) { return keep.defined() ? x * keep : x; };
    dy = dropped(gate.defined() ? dx * gate : dx);
    if (bias.defined()) dbias = dy.sum_to_size(bias.sizes());
    if (gate.defined()) {
      const at::Tensor branch = dropped(bias.defined() ? saved[1] + bias : saved[1]);
      dgate = (dx * branch).sum_to_size(gate.sizes());
    }
  }
  return {dx, dy, dbias, dgate, dgamma, dbeta, at::Tensor()};
}

variable_list ResidualNormFunction::backward(AutogradContext* ctx, const variable_list& gradients) {
  const auto saved = ctx->get_saved_variables();
  const auto capsule = ctx->saved_data["choice"].toCapsule();
  const auto& choice = static_cast<const NormChoice&>(*capsule);
  const bool has_y = ctx->saved_data["has_y"].toBool();
  const Wanted given = gradients_of(gradients, has_y, choice.has_norm);
  const at::Tensor& like = given.dn.defined() ? given.dn : given.dh;
  if (!like.defined()) return variable_list(7);
  if (is_graph_created()) return plain_backward(choice, saved, has_y, given);
  const at::Tensor &h = saved[0], &bias = saved[2], &gate = saved[3], &gamma = saved[4],
                   &beta = saved[5];
  const std::int64_t cols = like.size(-1), rows = like.numel() / cols;
  const std::int64_t groups = rows / choice.rows_per_group;
  const RowChunks chunks{choice.rows_per_group, groups};
  const at::Tensor dx = at::empty_like(like);
  const bool is_dy_other = has_y && (gate.defined() || choice.keep);
  const at::Tensor dy = is_dy_other ? at::empty_like(like) : at::Tensor();
  const bool has_dn = given.dn.defined();
  ChunkSums sums({has_dn && gamma.defined(), has_dn && beta.defined(), has_y && bias.defined(),
                  gate.defined()},
                 chunks.count(), cols, like.device());
  const ResidualNormSums all = {sums.pointer(0), sums.pointer(1), sums.pointer(2), sums.pointer(3)};
  // Where nothing else is at hand, y stands for itself only as "there is a branch".
  const at::Tensor y = saved[1].defined() ? saved[1] : has_y ? dx : at::Tensor();
  with_host_type(like, [&](auto zero) {
    using T = decltype(zero);
    const auto a = operands<T>(choice, {like, y, bias, gate, gamma, beta}, h, {}, saved[6]);
    const T *dn = host_data<T>(given.dn), *dh = host_data<T>(given.dh);
    T *to_x = host_data<T>(dx), *to_y = host_data<T>(dy);
    if (like.is_cuda()) {
      return device_residual_norm_backward(a, choice.keep, dn, dh, to_x, to_y, all, groups,
                                           device_stream(like));
    }
    in_parallel(chunks.count(), 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t chunk = first; chunk < last; ++chunk) {
        const auto at = [&](float* base) { return base ? base + chunk * cols : nullptr; };
        residual_norm_backward(a, dn, dh, to_x, to_y,
                               {at(all.gamma), at(all.beta), at(all.bias), at(all.gate)},
                               chunks.begin(chunk), chunks.end(chunk));
      }
    });
  });
  const at::Tensor dbias = sums.gradient(2, bias, groups);
  const at::Tensor dgate = sums.gradient(3, gate, groups);
  const at::Tensor dbeta = sums.gradient(1, beta, groups);
  const at::Tensor dgamma = sums.gradient(0, gamma, groups);
  return {dx,          is_dy_other ? dy : has_y ? dx : at::Tensor(), dbias, dgate, dgamma, dbeta,
          at::Tensor()};
}

// [B, 1, D] in columns that lie side by side: part of a wider matrix, perhaps.
bool has_whole_rows(const at::Tensor& x) { return !x.defined() || x.stride(-1) == 1; }

bool takes(const ResidualNormInput& in) {
  const auto fits = [&](const at::Tensor& x) {
    return !x.defined() || x.scalar_type() == in.x.scalar_type();
  };
  const bool is_affine_alike =
      is_per_sample(in.gamma) == is_per_sample(in.beta) &&
      (!is_per_sample(in.gamma) || in.gamma.stride(0) == in.beta.stride(0));
  const bool is_narrow = in.x.is_cpu() || in.x.size(-1) <= kMaxDeviceColumns;
  return runs_in_loops(in.x) && is_narrow && in.x.numel() > 0 && fits(in.y) && fits(in.gamma) &&
         fits(in.gate) && is_affine_alike && has_whole_rows(in.gate) && has_whole_rows(in.gamma) &&
         has_whole_rows(in.beta);
}

}  // namespace

ResidualNormOutput plain_residual_norm(const ResidualNormInput& in, DropoutStream& drop) {
  ResidualNormOutput out{in.x, {}};
  if (in.y.defined()) {
    at::Tensor branch = in.bias.defined() ? in.y + in.bias : in.y;
    branch = drop.dropout(branch, in.dropout);
    out.h = in.gate.defined() ? at::addcmul(in.x, in.gate, branch) : in.x + branch;
  }
  if (!in.has_norm) return out;
  const at::IntArrayRef width(out.h.sizes().data() + out.h.dim() - 1, 1);
  if (in.gamma_offset == 0.0 && !is_per_sample(in.gamma)) {
    out.n = at::layer_norm(out.h, width, in.gamma, in.beta, in.eps);
    return out;
  }
  out.n = at::layer_norm(out.h, width, {}, {}, in.eps);
  if (in.gamma.defined()) out.n = out.n * (in.gamma + in.gamma_offset);
  if (in.beta.defined()) out.n = out.n + in.beta;
  return out;
}

ResidualNormOutput fused_residual_norm(const ResidualNormInput& in, DropoutStream& drop) {
  if (!takes(in)) return plain_residual_norm(in, drop);
  auto choice = c10::make_intrusive<NormChoice>();
  choice->eps = in.eps;
  choice->gamma_offset = in.gamma_offset;
  choice->has_norm = in.has_norm;
  choice->rows_per_group = in.x.dim() == 3 ? in.x.size(1) : in.x.numel() / in.x.size(-1);
  if (in.y.defined()) choice->keep = drop.site(in.dropout);
  const at::Tensor y = in.y.defined() ? in.y.contiguous() : at::Tensor();
  const auto out =
      ResidualNormFunction::apply(in.x.contiguous(), maybe(y), maybe(in.bias), maybe(in.gate),
                                  maybe(in.gamma), maybe(in.beta), choice);
  if (!in.y.defined()) return {in.x, out[0]};
  return {out[0], in.has_norm ? out[1] : at::Tensor()};
}

}  // namespace kiln
