#include "models/operators/attend.h"

#include <cmath>
#include <limits>
#include <optional>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/operators/attention_choice.h"
#include "models/operators/host_tensors.h"
#include "models/operators/second_order.h"

namespace kiln {
namespace {

at::Tensor additive(const at::Tensor& mask, const at::Tensor& like) {
  if (mask.scalar_type() != at::kBool) return mask;
  const double lowest = -std::numeric_limits<double>::infinity();
  return at::zeros(mask.sizes(), like.options()).masked_fill_(mask.logical_not(), lowest);
}

// Of the GPU's kernels none takes a mask of bools.
at::Tensor attend_on_device(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            at::Tensor mask, const std::optional<DropoutSite>& site,
                            bool is_causal) {
  mask = mask_for(mask, q);
  while (mask.defined() && mask.dim() < 4) mask = mask.unsqueeze(0);
  AttentionDropout dropout;
  if (site) {
    const auto words = site->stream.block(site->first_block);
    dropout = {site->p, std::uint64_t{words[0]} << 32 | words[1]};
  }
  return device_attention().attend(q, k, v, mask, dropout, is_causal);
}

/// Passes on what an operator has made that LibTorch differentiates once: gradients go its way, but
/// those that are to be differentiated again take that of the products.
struct OnceMore : torch::autograd::Function<OnceMore> {
  using Variables = torch::autograd::variable_list;
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& mixed,
                            const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::optional<at::Tensor>& mask, bool has_dropout,
                            bool is_causal) {
    ctx->save_for_backward({q, k, v, maybe(mask)});
    ctx->saved_data["has_dropout"] = has_dropout;
    ctx->saved_data["is_causal"] = is_causal;
    return mixed.detach();
  }
  static Variables backward(torch::autograd::AutogradContext* ctx, const Variables& gradients) {
    if (!is_graph_created()) return {gradients[0], {}, {}, {}, {}, {}, {}};
    if (ctx->saved_data["has_dropout"].toBool()) {
      throw usage_error(
          "a gradient through attention with dropout on a GPU is to be differentiated again, where "
          "the dropped weights are not known any more; set the attention's dropout to 0");
    }
    const auto saved = ctx->get_saved_variables();
    std::vector<bool> is_wanted;
    for (const at::Tensor& x : saved) is_wanted.push_back(x.defined() && x.requires_grad());
    const bool is_causal = ctx->saved_data["is_causal"].toBool();
    Variables found =
        differentiable_gradients(saved, is_wanted, gradients, [&](const Variables& in) {
          return Variables{attend_by_products(in[0], in[1], in[2], in[3], std::nullopt, is_causal)};
        });
    found.insert(found.begin(), at::Tensor());  // of `mixed`
    found.resize(7);
    return found;
  }
};

}  // namespace

at::Tensor mask_for(const at::Tensor& mask, const at::Tensor& x) {
  return mask.defined() && runs_in_device_loops(x) ? additive(mask, x) : mask;
}

at::Tensor attend_by_products(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& mask, const std::optional<DropoutSite>& site,
                              bool is_causal) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  at::Tensor scores = at::matmul(q * scale, k.transpose(-2, -1));  // [B, H, L, S]
  if (mask.defined()) scores = scores + additive(mask, scores);
  if (is_causal) {
    const at::Tensor future = at::ones(scores.sizes().slice(2), scores.options().dtype(at::kBool));
    scores = scores.masked_fill(future.triu(1), -std::numeric_limits<double>::infinity());
  }
  // Softmax in fp32: bf16 has too few digits for the small weights.
  const auto type = scores.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor weights = at::softmax(scores, -1, type).to(q.scalar_type());
  if (site) weights = weights * keep_factors(*site, weights.sizes(), weights.options());
  return at::matmul(weights, v);
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, double p, DropoutStream& drop, bool is_causal) {
  KILN_CHECK(!is_causal || (!mask.defined() && q.size(2) == k.size(2)), "a causal mask alone");
  const std::optional<DropoutSite> site = drop.site(p);
  if (!runs_in_device_loops(q) && site) return attend_by_products(q, k, v, mask, site, is_causal);
  const at::Tensor mixed =
      runs_in_device_loops(q)
          ? attend_on_device(q, k, v, mask, site, is_causal)
          : at::scaled_dot_product_attention(q, k, v, maybe(mask), 0.0, is_causal);
  if (!mixed.requires_grad()) return mixed;
  return OnceMore::apply(mixed, q, k, v, maybe(mask), site.has_value(), is_causal);
}

}  // namespace kiln
