#include "data/store/stored_array.h"

#include <fmt/ranges.h>

#include "core/base/checked.h"
#include "core/base/error.h"
#include "data/store/hdf5_storage.h"

namespace kiln {

StoredArray::StoredArray(hid_t file, const std::string& path, const std::string& what)
    : what_(what) {
  const auto lock = hdf5_lock();
  if (!hdf5_exists(file, path)) throw data_error("{}: the file has no array '{}'", what, path);
  if (!hdf5_is_dataset(file, path, what)) {
    throw data_error("{}: '{}' is not an array but a group or a type", what, path);
  }
  dataset_ = H5Handle(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose, what);
  const StoredType type = stored_type(dataset_.get(), what);
  dtype_ = type.type;
  row_shape_ = shape_of(dataset_.get());
  if (row_shape_.empty()) throw data_error("{}: '{}' is a scalar, not rows", what, path);
  std::vector<std::int64_t> factors = row_shape_;
  num_rows_ = row_shape_.front();
  row_shape_.erase(row_shape_.begin());
  factors.front() = size_bytes(dtype_);
  const auto row_bytes = checked_product(factors);
  const auto num_bytes = row_bytes ? checked_product(*row_bytes, num_rows_) : std::nullopt;
  if (!num_bytes || *row_bytes == 0) {
    throw data_error("{}: '{}' has the shape [{}{}{}]: its rows hold {} values", what, path,
                     num_rows_, row_shape_.empty() ? "" : ", ", fmt::join(row_shape_, ", "),
                     row_bytes && *row_bytes == 0 ? "no" : "more than 2^63");
  }
  row_bytes_ = *row_bytes;
  // A value in the file is no longer than what it becomes.
  const StoredPlace place =
      stored_place(file, dataset_.get(), *num_bytes / size_bytes(dtype_) * type.size_bytes, what);
  layout_ = place.layout + (type.is_as_stored ? "" : ", values that are converted");
  is_direct_ = place.is_direct && type.is_as_stored;
  begin_byte_ = place.begin_byte;
  if (is_direct_) dataset_ = {};
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
