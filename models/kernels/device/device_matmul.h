#pragma once

#include <compare>
#include <cstdint>

// Matrix products in which cuBLASLt also does what would be a pass over memory before or after.
//
// N rows of x [N, D] and of the hidden layer [N, F].

namespace kiln {

enum class Epilogue {
  kGeluBias,      // D = gelu(aux), tanh form, with aux = op(A) op(B) + bias kept
  kBiasGradient,  // D = op(A) op(B); bias = op(B)'s sums over k
};

/// D [m, n] = op(A) [m, k] op(B) [k, n], column-major as cuBLASLt has it: element (i, j) of a
/// matrix lies at i + j * ld. aux lies as D does.
struct MatmulShape {
  Epilogue epilogue = Epilogue::kBiasGradient;
  bool is_a_transposed = false, is_b_transposed = false;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t lda = 0, ldb = 0, ldd = 0;

  bool has_aux() const { return epilogue != Epilogue::kBiasGradient; }
  auto operator<=>(const MatmulShape&) const = default;
};

// A row-major matrix read column-major is its transpose. So each product below is that of the
// transposes, in the other order, and none is copied: (X Y)^T = Y^T X^T.

/// a = gelu(u), u = x W1^T + b1, as a^T = gelu(W1 x^T + b1): A = W1 [F, D], B = x, aux = u.
constexpr MatmulShape gelu_shape(std::int64_t N, std::int64_t D, std::int64_t F) {
  return {Epilogue::kGeluBias, true, false, F, N, D, D, D, F};
}
/// dW = dy^T x, as dW^T = x^T dy: A = x [N, in], B = dy [N, out]; bias is the gradient of b [out].
constexpr MatmulShape weight_gradient_shape(std::int64_t N, std::int64_t in, std::int64_t out) {
  return {Epilogue::kBiasGradient, false, true, in, out, N, in, out, in};
}

/// Pointers to the device's memory, all of one type.
struct MatmulOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  void* d = nullptr;
  void* bias = nullptr;
  void* aux = nullptr;
  bool is_bf16 = false;   // else fp32
  bool is_added = false;  // to what D holds
};

/// Carries it out on the current stream, sums in fp32. Returns false and does nothing where
/// cuBLASLt does not offer it: on another type of GPU, for odd sizes, in a build without it.
///
/// The algorithm is timed among cuBLASLt's proposals when a shape comes for the first time; with
/// at::globalContext().deterministicAlgorithms() it is the first proposal.
bool device_matmul(const MatmulShape& shape, const MatmulOperands& operands);

}  // namespace kiln
