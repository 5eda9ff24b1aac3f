#include "core/base/hash.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "core/base/file_io.h"

namespace kiln {
namespace {

Digest to_digest(XXH128_hash_t value) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, value);
  Digest digest;
  static_assert(sizeof canonical.digest == sizeof digest.bytes);
  std::memcpy(digest.bytes.data(), canonical.digest, digest.bytes.size());
  return digest;
}

}  // namespace

std::string Digest::hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

void Xxh3Stream::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Xxh3Stream::Xxh3Stream() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
}
Xxh3Stream::~Xxh3Stream() = default;
Xxh3Stream::Xxh3Stream(Xxh3Stream&&) noexcept = default;
Xxh3Stream& Xxh3Stream::operator=(Xxh3Stream&&) noexcept = default;

void Xxh3Stream::update(const void* data, std::size_t num_bytes) {
  if (num_bytes > 0) XXH3_128bits_update(state_.get(), data, num_bytes);
}

Digest Xxh3Stream::digest() const { return to_digest(XXH3_128bits_digest(state_.get())); }

Digest hash_bytes(const void* data, std::size_t num_bytes) {
  return to_digest(XXH3_128bits(data, num_bytes));
}

FileHash hash_file(const std::filesystem::path& path, ExitCode code) {
  constexpr std::uint64_t kPieceBytes = 1 << 20;
  const InputFile file(path, code);
  std::vector<char> piece(std::min(kPieceBytes, file.size()));
  Xxh3Stream stream;
  for (std::uint64_t offset = 0; offset < file.size(); offset += kPieceBytes) {
    const std::size_t num_bytes = std::min(kPieceBytes, file.size() - offset);
    file.read(offset, piece.data(), num_bytes);
    stream.update(piece.data(), num_bytes);
  }
  return {file.size(), stream.digest().hex()};
}

std::string weights_hash(const std::map<std::string, Digest>& digests) {
  Xxh3Stream stream;
  for (const auto& [name, digest] : digests)
    stream.update(digest.bytes.data(), digest.bytes.size());
  return stream.digest().hex();
}

}  // namespace kiln
