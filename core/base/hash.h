#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "core/base/error.h"

struct XXH3_state_s;

namespace kiln {

/// An xxh3-128 value, canonical (big-endian) byte order. hex() is what our files carry.
struct Digest {
  std::array<std::uint8_t, 16> bytes{};
  std::string hex() const;
  friend bool operator==(const Digest&, const Digest&) = default;
};

/// xxh3-128 of bytes that arrive in pieces.
class Xxh3Stream {
 public:
  Xxh3Stream();
  ~Xxh3Stream();
  Xxh3Stream(Xxh3Stream&&) noexcept;
  Xxh3Stream& operator=(Xxh3Stream&&) noexcept;

  void update(const void* data, std::size_t num_bytes);
  /// Of everything so far; more may follow.
  Digest digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

Digest hash_bytes(const void* data, std::size_t num_bytes);

struct FileHash {
  std::uint64_t num_bytes = 0;
  std::string xxh3;  // hex
  friend bool operator==(const FileHash&, const FileHash&) = default;
};

/// Reads a file once, in pieces of 1 MiB. Throws Error(code) naming path and reason.
FileHash hash_file(const std::filesystem::path& path, ExitCode code = ExitCode::kCheckpoint);

/// What identifies the weights of a run: xxh3-128 over the digests of each master weight's
/// little-endian fp32 bytes, names sorted bytewise (as std::map sorts them). Hex.
std::string weights_hash(const std::map<std::string, Digest>& digests);

}  // namespace kiln
