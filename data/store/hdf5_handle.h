#pragma once

#include <hdf5.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "data/store/dtype.h"

// The one place that knows HDF5's C interface conventions. Include from .cpp files only.
//
// Where a function has several versions, its number is written (H5Dopen2): what the plain name means
// depends on the library's version and on how it was configured. Those called here are in 1.10,
// 1.12, 1.14 and 2.0.

namespace kiln {

/// HDF5 keeps global state: whoever calls the library holds this lock (it may be taken again by its
/// holder). Also silences the library's own error printing on this thread.
std::unique_lock<std::recursive_mutex> hdf5_lock();

/// An identifier of the library, closed with the function that fits its type.
class H5Handle {
 public:
  using Close = herr_t (*)(hid_t);
  H5Handle() = default;
  /// Throws Error(kData) "what: <the library's reason>" when id is negative.
  H5Handle(hid_t id, Close close, const std::string& what);
  ~H5Handle();
  H5Handle(H5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  H5Handle& operator=(H5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  hid_t get() const { return id_; }
  /// Closes now. What was written may reach the disk only here: throws Error(kData) if it does not.
  void close(const std::string& what);

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Throws Error(kData) when a call of the library returned a negative status.
void check_hdf5(herr_t status, const std::string& what);

/// Read-only, with file locking off: read-only and parallel file systems often cannot lock.
H5Handle open_hdf5(const std::filesystem::path& path);
/// Truncates. Every data set begins at a multiple of 4 KiB.
H5Handle create_hdf5(const std::filesystem::path& path);

/// Type of the library for values of ours, little-endian as on disk.
H5Handle hdf5_type(DType type);
std::vector<std::int64_t> shape_of(hid_t dataset);
bool hdf5_exists(hid_t file, const std::string& path);
/// Of what hdf5_exists(). Throws Error(kData) naming `what` where it cannot be opened.
bool hdf5_is_dataset(hid_t file, const std::string& path, const std::string& what);

}  // namespace kiln
