#include <immintrin.h>

#include <algorithm>

#include "core/base/philox.h"

namespace kiln {
namespace {

// Words of eight products.
struct Products {
  __m256i high, low;
};

Products multiply(__m256i a, std::uint32_t by) {
  const __m256i factor = _mm256_set1_epi32(static_cast<int>(by));
  const __m256i even = _mm256_mul_epu32(a, factor);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  constexpr int kOdd = 0b10101010;
  return {_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, kOdd),
          _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), kOdd)};
}

__m256i exclusive_or(__m256i a, __m256i b, std::uint32_t key) {
  const __m256i keys = _mm256_set1_epi32(static_cast<int>(key));
  return _mm256_xor_si256(_mm256_xor_si256(a, b), keys);
}

// Lane j of words[w] is word w of block j: becomes four words of block 0, of block 1, ...
void store_by_block(const __m256i (&words)[4], std::uint32_t* to) {
  const __m256i low01 = _mm256_unpacklo_epi32(words[0], words[1]);
  const __m256i high01 = _mm256_unpackhi_epi32(words[0], words[1]);
  const __m256i low23 = _mm256_unpacklo_epi32(words[2], words[3]);
  const __m256i high23 = _mm256_unpackhi_epi32(words[2], words[3]);
  const __m256i blocks04 = _mm256_unpacklo_epi64(low01, low23);
  const __m256i blocks15 = _mm256_unpackhi_epi64(low01, low23);
  const __m256i blocks26 = _mm256_unpacklo_epi64(high01, high23);
  const __m256i blocks37 = _mm256_unpackhi_epi64(high01, high23);
  auto* out = reinterpret_cast<__m256i*>(to);
  _mm256_storeu_si256(out, _mm256_permute2x128_si256(blocks04, blocks15, 0x20));
  _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(blocks26, blocks37, 0x20));
  _mm256_storeu_si256(out + 2, _mm256_permute2x128_si256(blocks04, blocks15, 0x31));
  _mm256_storeu_si256(out + 3, _mm256_permute2x128_si256(blocks26, blocks37, 0x31));
}

}  // namespace

void Philox::blocks(std::uint64_t first, std::int64_t count, std::uint32_t* words) const {
  constexpr std::int64_t kLanes = 8;
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  std::int64_t done = 0;
  for (; done + kLanes <= count; done += kLanes) {
    const std::uint64_t index = first + static_cast<std::uint64_t>(done);
    const auto low = static_cast<std::uint32_t>(index);
    if (low > UINT32_MAX - kLanes) break;  // the lanes' upper words would differ
    const auto all = [](std::uint64_t word) {
      return _mm256_set1_epi32(static_cast<int>(static_cast<std::uint32_t>(word)));
    };
    __m256i c[4] = {_mm256_add_epi32(all(low), lanes), all(index >> 32), all(position_),
                    all(position_ >> 32)};
    std::uint32_t key[2] = {key_[0], key_[1]};
    for (int round = 0; round < 10; ++round) {
      const Products p0 = multiply(c[0], 0xD2511F53u), p1 = multiply(c[2], 0xCD9E8D57u);
      c[0] = exclusive_or(p1.high, c[1], key[0]);
      c[1] = p1.low;
      c[2] = exclusive_or(p0.high, c[3], key[1]);
      c[3] = p0.low;
      key[0] += 0x9E3779B9u;
      key[1] += 0xBB67AE85u;
    }
    store_by_block(c, words + 4 * done);
  }
  for (; done < count; ++done) {
    const auto one = block(first + static_cast<std::uint64_t>(done));
    std::copy(one.begin(), one.end(), words + 4 * done);
  }
}

}  // namespace kiln
