#pragma once

namespace kiln {

/// Whether the processor has what oneDNN's products of bf16, and its product by tiles, need: AVX-512
/// with operations on bytes, words and half registers.
bool has_avx512();
/// Whether it multiplies pairs of bfloat16 into sums in fp32 (AVX-512 BF16).
bool multiplies_bf16();

}  // namespace kiln
