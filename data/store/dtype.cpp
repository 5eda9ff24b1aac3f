#include "data/store/dtype.h"

#include <array>
#include <cstring>

#include "core/base/error.h"

namespace kiln {
namespace {

struct Row {
  DType type;
  std::string_view name;
  std::int64_t size_bytes;
};
constexpr std::array<Row, 8> kTypes = {{{DType::kUInt8, "uint8", 1},
                                        {DType::kUInt16, "uint16", 2},
                                        {DType::kUInt32, "uint32", 4},
                                        {DType::kInt32, "int32", 4},
                                        {DType::kInt64, "int64", 8},
                                        {DType::kFloat16, "float16", 2},
                                        {DType::kFloat32, "float32", 4},
                                        {DType::kUInt64, "uint64", 8}}};

template <typename T>
std::int64_t load(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return static_cast<std::int64_t>(value);
}

}  // namespace

std::int64_t size_bytes(DType type) { return kTypes[static_cast<std::size_t>(type)].size_bytes; }

std::string_view name(DType type) { return kTypes[static_cast<std::size_t>(type)].name; }

DType dtype_from_name(std::string_view name) {
  for (const Row& row : kTypes) {
    if (row.name == name) return row.type;
  }
  throw data_error(
      "unknown type '{}' of values; known: uint8, uint16, uint32, uint64, int32, int64, float16, "
      "float32",
      name);
}

std::int64_t integer_at(DType type, const std::uint8_t* bytes) {
  switch (type) {
    case DType::kUInt8:
      return load<std::uint8_t>(bytes);
    case DType::kUInt16:
      return load<std::uint16_t>(bytes);
    case DType::kUInt32:
      return load<std::uint32_t>(bytes);
    case DType::kInt32:
      return load<std::int32_t>(bytes);
    case DType::kInt64:
      return load<std::int64_t>(bytes);
    case DType::kUInt64:
      return load<std::uint64_t>(bytes);
    default:
      throw data_error("{} values where integers are needed", name(type));
  }
}

}  // namespace kiln
