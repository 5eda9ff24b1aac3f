#include "data/store/stored_array.h"

#include <fmt/ranges.h>

#include "core/base/error.h"

namespace kiln {
namespace {

std::string describe_layout(hid_t create, std::size_t num_dims) {
  std::string text = H5Pget_layout(create) == H5D_COMPACT ? "compact" : "external";
  if (H5Pget_layout(create) == H5D_CHUNKED) {
    std::vector<hsize_t> chunk(num_dims);
    H5Pget_chunk(create, static_cast<int>(num_dims), chunk.data());
    text = fmt::format("chunks of [{}]", fmt::join(chunk, ", "));
  }
  for (int i = 0; i < H5Pget_nfilters(create); ++i) {
    unsigned flags = 0;
    std::size_t num_values = 0;
    char filter[64] = {};
    H5Pget_filter2(create, static_cast<unsigned>(i), &flags, &num_values, nullptr, sizeof(filter),
                   filter, nullptr);
    text += fmt::format(", filter {}", filter);
  }
  return text;
}

}  // namespace

StoredArray::StoredArray(hid_t file, const std::string& path, const std::string& what)
    : what_(what) {
  const auto lock = hdf5_lock();
  if (!hdf5_exists(file, path)) throw data_error("{}: the file has no array '{}'", what, path);
  dataset_ = H5Handle(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose, what);
  dtype_ = dtype_of(dataset_.get(), what);
  row_shape_ = shape_of(dataset_.get());
  if (row_shape_.empty()) throw data_error("{}: '{}' is a scalar, not rows", what, path);
  num_rows_ = row_shape_.front();
  row_shape_.erase(row_shape_.begin());
  row_bytes_ = size_bytes(dtype_);
  for (const std::int64_t dim : row_shape_) row_bytes_ *= dim;

  const H5Handle create(H5Dget_create_plist(dataset_.get()), H5Pclose, what);
  const haddr_t address = H5Dget_offset(dataset_.get());
  is_direct_ = H5Pget_layout(create.get()) == H5D_CONTIGUOUS &&
               H5Pget_external_count(create.get()) == 0 &&
               (address != HADDR_UNDEF || num_rows_ == 0);
  if (!is_direct_) {
    layout_ = describe_layout(create.get(), row_shape_.size() + 1);
    return;
  }
  begin_byte_ = address == HADDR_UNDEF ? 0 : static_cast<std::int64_t>(address);
  layout_ = "contiguous";
  dataset_ = {};
}

void StoredArray::read(const File& file, std::int64_t begin, std::int64_t count, void* out) const {
  KILN_CHECK(begin >= 0 && count >= 0 && begin + count <= num_rows_, "{}: rows {} + {} of {}",
             what_, begin, count, num_rows_);
  if (is_direct_) {
    file.read_at(out, count * row_bytes_, begin_byte_ + begin * row_bytes_);
  } else {
    read_through_library(begin, count, out);
  }
}

void StoredArray::read_through_library(std::int64_t begin, std::int64_t count, void* out) const {
  const auto lock = hdf5_lock();
  std::vector<hsize_t> start = {static_cast<hsize_t>(begin)};
  std::vector<hsize_t> extent = {static_cast<hsize_t>(count)};
  start.resize(row_shape_.size() + 1, 0);
  extent.insert(extent.end(), row_shape_.begin(), row_shape_.end());
  const int num_dims = static_cast<int>(extent.size());
  const H5Handle in_file(H5Dget_space(dataset_.get()), H5Sclose, what_);
  check_hdf5(H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr,
                                 extent.data(), nullptr),
             what_);
  const H5Handle in_memory(H5Screate_simple(num_dims, extent.data(), nullptr), H5Sclose, what_);
  const H5Handle type = hdf5_type(dtype_);
  check_hdf5(H5Dread(dataset_.get(), type.get(), in_memory.get(), in_file.get(), H5P_DEFAULT, out),
             what_);
}

}  // namespace kiln
