#include "data/store/hdf5_storage.h"

#include <fmt/ranges.h>

#include <array>
#include <cstdlib>

#include "core/base/error.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::array<DType, 8> kTypes = {DType::kUInt8,   DType::kUInt16, DType::kUInt32,
                                         DType::kInt32,   DType::kInt64,  DType::kUInt64,
                                         DType::kFloat16, DType::kFloat32};

/// "float64", "big-endian uint16", "strings": what a user would call it.
std::string describe_type(hid_t type) {
  const std::size_t bits = 8 * H5Tget_size(type);
  const std::string order = H5Tget_order(type) == H5T_ORDER_BE && bits > 8 ? "big-endian " : "";
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return fmt::format("{}{}int{}", order, H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", bits);
    case H5T_FLOAT:
      return fmt::format("{}float{}", order, bits);
    case H5T_STRING:
      return "strings";
    case H5T_COMPOUND:
      return "compounds of several values";
    case H5T_ENUM:
      return "an enumeration (numpy's bool)";
    case H5T_VLEN:
      return "rows of variable length (vlen)";
    case H5T_ARRAY:
      return "arrays within values";
    case H5T_REFERENCE:
      return "references";
    default:
      return "opaque bits";
  }
}

bool equals(hid_t found, hid_t ours, H5T_order_t order) {
  const H5Handle copy(H5Tcopy(ours), H5Tclose, "cannot copy an HDF5 type");
  check_hdf5(H5Tset_order(copy.get(), order), "cannot turn an HDF5 type's bytes");
  return H5Tequal(found, copy.get()) > 0;
}

/// The name of the file that an object lies in: behind an external link it is another.
std::string file_name_of(hid_t object) {
  const ssize_t size = H5Fget_name(object, nullptr, 0);
  std::string name(static_cast<std::size_t>(std::max<ssize_t>(size, 0)), '\0');
  if (size > 0) H5Fget_name(object, name.data(), name.size() + 1);
  return name;
}

void check_filters(hid_t create, std::string& layout, const std::string& what) {
  for (int i = 0; i < H5Pget_nfilters(create); ++i) {
    unsigned flags = 0;
    unsigned config = 0;
    std::size_t num_values = 0;
    char name[64] = {};
    const H5Z_filter_t filter = H5Pget_filter2(create, static_cast<unsigned>(i), &flags,
                                               &num_values, nullptr, sizeof(name), name, &config);
    name[sizeof(name) - 1] = '\0';
    if (H5Zfilter_avail(filter) <= 0) {
      throw data_error(
          "{}: its values went through the filter '{}' ({}), which the HDF5 library here does not "
          "have: write it again with gzip or without compression (h5repack -f NONE)",
          what, name, static_cast<int>(filter));
    }
    layout += fmt::format(", filter {}", name);
  }
}

std::string virtual_name(hid_t create, std::size_t i,
                         ssize_t (*get)(hid_t, std::size_t, char*, std::size_t)) {
  const ssize_t size = get(create, i, nullptr, 0);
  std::string name(static_cast<std::size_t>(std::max<ssize_t>(size, 0)), '\0');
  if (size > 0) get(create, i, name.data(), name.size() + 1);
  return name;
}

/// The library reads zeros where a source of a virtual data set is not found.
void check_sources(hid_t create, const fs::path& file, const std::string& what) {
  std::size_t count = 0;
  check_hdf5(H5Pget_virtual_count(create, &count), what);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = virtual_name(create, i, H5Pget_virtual_filename);
    const std::string array = virtual_name(create, i, H5Pget_virtual_dsetname);
    const bool is_pattern = name.find('%') != name.npos || array.find('%') != array.npos;
    if (is_pattern || std::getenv("HDF5_VDS_PREFIX") != nullptr) continue;
    fs::path source = name == "." ? file : file.parent_path() / name;
    if (!fs::exists(source)) source = name;
    if (!fs::exists(source)) {
      throw data_error("{}: it is put together from '{}', which does not exist beside '{}'", what,
                       name, file.string());
    }
    if (!hdf5_exists(open_hdf5(source).get(), array)) {
      throw data_error("{}: it is put together from '{}' of '{}', which has no such array", what,
                       array, source.string());
    }
  }
}

/// The library reads zeros behind the end of an external file.
void check_external(hid_t create, std::int64_t num_bytes, const std::string& what) {
  const int count = H5Pget_external_count(create);
  for (int i = 0; i < count && num_bytes > 0; ++i) {
    char name[4096] = {};
    off_t offset = 0;
    hsize_t size = 0;
    check_hdf5(
        H5Pget_external(create, static_cast<unsigned>(i), sizeof(name) - 1, name, &offset, &size),
        what);
    const auto part =
        static_cast<std::int64_t>(std::min<hsize_t>(size, static_cast<hsize_t>(num_bytes)));
    std::error_code code;
    const auto found = fs::file_size(name, code);
    if (!code && static_cast<std::int64_t>(found) < offset + part) {
      throw data_error("{}: its values lie in '{}', which ends at byte {}, before byte {}", what,
                       name, found, offset + part);
    }
    num_bytes -= part;
  }
}

std::string chunks(hid_t create) {
  std::vector<hsize_t> chunk(H5S_MAX_RANK);
  const int num_dims = H5Pget_chunk(create, H5S_MAX_RANK, chunk.data());
  chunk.resize(static_cast<std::size_t>(std::max(num_dims, 0)));
  return fmt::format("chunks of [{}]", fmt::join(chunk, ", "));
}

}  // namespace

StoredType stored_type(hid_t dataset, const std::string& what) {
  const H5Handle found(H5Dget_type(dataset), H5Tclose, what);
  const auto size = static_cast<std::int64_t>(H5Tget_size(found.get()));
  for (const DType type : kTypes) {
    const H5Handle ours = hdf5_type(type);
    if (H5Tequal(found.get(), ours.get()) > 0) return {type, true, size};
    if (equals(found.get(), ours.get(), H5T_ORDER_BE)) return {type, false, size};
  }
  for (const hid_t small : {H5T_STD_I8LE, H5T_STD_I16LE}) {
    if (equals(found.get(), small, H5T_ORDER_LE) || equals(found.get(), small, H5T_ORDER_BE)) {
      return {DType::kInt32, false, size};
    }
  }
  throw data_error(
      "{}: its values are {}; expected uint8, uint16, uint32, uint64, int8 to int64, float16 or "
      "float32: write them again as one of these",
      what, describe_type(found.get()));
}

StoredPlace stored_place(hid_t file, hid_t dataset, std::int64_t num_bytes,
                         const std::string& what) {
  const H5Handle create(H5Dget_create_plist(dataset), H5Pclose, what);
  const std::string own = file_name_of(file);
  const std::string holder = file_name_of(dataset);
  StoredPlace place;
  switch (H5Pget_layout(create.get())) {
    case H5D_CHUNKED:
      place.layout = chunks(create.get());
      break;
    case H5D_COMPACT:
      place.layout = "compact";
      break;
    case H5D_VIRTUAL:
      place.layout = "a virtual data set";
      check_sources(create.get(), holder, what);
      break;
    case H5D_CONTIGUOUS:
      place.layout = "contiguous";
      place.is_direct = true;
      break;
    default:
      throw data_error("{}: its values are stored in a way that is not known", what);
  }
  check_filters(create.get(), place.layout, what);
  if (H5Pget_external_count(create.get()) > 0) {
    place.layout = "external files";
    place.is_direct = false;
    check_external(create.get(), num_bytes, what);
  }
  if (holder != own) {
    place.layout += fmt::format(", in '{}' behind an external link", holder);
    place.is_direct = false;
  }
  if (!place.is_direct || num_bytes == 0) return place;
  const haddr_t address = H5Dget_offset(dataset);
  if (address == HADDR_UNDEF) {
    place.layout += ", never written";
    place.is_direct = false;
    return place;
  }
  if (H5Dget_storage_size(dataset) != static_cast<hsize_t>(num_bytes)) {
    throw data_error("{}: {} bytes are stored, its shape needs {}: the file is damaged", what,
                     H5Dget_storage_size(dataset), num_bytes);
  }
  place.begin_byte = static_cast<std::int64_t>(address);
  return place;
}

}  // namespace kiln
