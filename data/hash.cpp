#include "data/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>
#include <utility>

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

}  // namespace kiln
