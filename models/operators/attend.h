#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "models/operators/dropout.h"

// B samples, L queries, S keys, H heads, d width of a head.

namespace kiln {

/// The mask in the form that attend() wants it in where x lies: for callers that give one mask to
/// many layers.
at::Tensor mask_for(const at::Tensor& mask, const at::Tensor& x);

/// softmax(q k^T / sqrt(d) + mask) v (Vaswani et al., arXiv:1706.03762) for q [B, H, L, d] and
/// k, v [B, H, S, d]; result [B, H, L, d].
///
/// `mask` is undefined or broadcasts to [B, H, L, S]: bool (true takes part) or added to the
/// scores. Where `is_causal`, L = S, the mask is undefined, and query l sees the keys 0 .. l.
/// Attention weights go through `drop` with probability `p`, which takes the slower plain path.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, double p, DropoutStream& drop, bool is_causal = false);

/// The same as matrix products and a softmax, with dropout at `site`: what can be differentiated
/// any number of times.
at::Tensor attend_by_products(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& mask, const std::optional<DropoutSite>& site,
                              bool is_causal = false);

}  // namespace kiln
