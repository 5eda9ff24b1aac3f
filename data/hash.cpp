#include "data/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "data/files.h"

namespace kiln {

Hash128::Hash128() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_);
}
Hash128::~Hash128() { XXH3_freeState(state_); }
Hash128::Hash128(Hash128&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Hash128& Hash128::operator=(Hash128&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

void Hash128::update(const void* data, std::size_t size_bytes) {
  XXH3_128bits_update(state_, data, size_bytes);
}

std::string Hash128::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string hash_of(const File& file) {
  constexpr std::int64_t kPieceBytes = 4 << 20;
  std::vector<std::uint8_t> piece(kPieceBytes);
  Hash128 hash;
  const std::int64_t size = file.size_bytes();
  for (std::int64_t at = 0; at < size; at += kPieceBytes) {
    const std::int64_t count = std::min(kPieceBytes, size - at);
    file.read_at(piece.data(), count, at);
    hash.update(piece.data(), static_cast<std::size_t>(count));
  }
  return hash.hex();
}

}  // namespace kiln
