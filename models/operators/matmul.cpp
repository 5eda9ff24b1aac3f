#include "models/operators/matmul.h"

#include "models/kernels/processor.h"

namespace kiln {

at::ScalarType product_type(const at::Tensor& x) {
  const bool is_slow = x.device().is_cpu() && x.scalar_type() == at::kBFloat16 && !has_avx512();
  return is_slow ? at::kFloat : x.scalar_type();
}

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b) {
  const at::ScalarType type = product_type(a);
  return at::mm(a.to(type), b.to(type)).to(a.scalar_type());
}

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::ScalarType type = product_type(x);
  return at::linear(x.to(type), weight.to(type), bias.defined() ? bias.to(type) : bias)
      .to(x.scalar_type());
}

void multiply_into(at::Tensor& into, const at::Tensor& a, const at::Tensor& b, bool is_added) {
  const at::ScalarType type = product_type(a);
  if (type != into.scalar_type()) {
    const at::Tensor product = at::mm(a.to(type), b.to(type));
    is_added ? into.add_(product) : into.copy_(product);
  } else if (is_added) {
    into.addmm_(a, b);
  } else {
    at::mm_out(into, a, b);
  }
}

}  // namespace kiln
