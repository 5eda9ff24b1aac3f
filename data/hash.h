#pragma once

#include <cstddef>
#include <memory>
#include <string>

struct XXH3_state_s;

namespace kiln {

/// xxh3-128 of a stream of bytes.
class Hash128 {
 public:
  Hash128();
  ~Hash128();
  Hash128(Hash128&&) noexcept;
  Hash128& operator=(Hash128&&) noexcept;

  void update(const void* data, std::size_t size_bytes);
  /// 32 lower-case hexadecimal digits of the bytes given so far.
  std::string hex() const;

 private:
  XXH3_state_s* state_;
};

class File;
/// Of a whole file, read in pieces.
std::string hash_of(const File& file);

}  // namespace kiln
