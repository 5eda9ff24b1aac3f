#pragma once

#include "core/torch.h"

namespace kiln {

/// The type in which products of tensors like x are taken; tensors convert to it and back.
///
/// It is their own but for bf16 on a processor without AVX-512: LibTorch multiplies bf16 with
/// oneDNN, which needs it, and else by plain loops that reach a tenth of what MKL does in fp32.
at::ScalarType product_type(const at::Tensor& x);

/// at::mm and at::linear in the product type: [M, K] x [K, N], and x W^T + b.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b);
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
/// into = a b, or into += a b where `is_added`.
void multiply_into(at::Tensor& into, const at::Tensor& a, const at::Tensor& b, bool is_added);

}  // namespace kiln
