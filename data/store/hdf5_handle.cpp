#include "data/store/hdf5_handle.h"

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "data/store/files.h"

namespace kiln {
namespace {

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* text) {
  *static_cast<std::string*>(text) = error->desc;
  return 0;
}

std::string last_reason() {
  std::string text = "no reason given";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  std::string innermost = text;
  // Walking upward begins at the innermost frame and ends at the public function; the first says
  // most.
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, &innermost);
  text = innermost == text ? text : innermost + "; " + text;
  // Of a call of the system, whose circumstances fill three lines, the reason is enough.
  constexpr std::string_view kReason = "error message = '";
  if (const std::size_t at = text.find(kReason); at != text.npos) {
    const std::size_t begin = at + kReason.size();
    return text.substr(begin, text.find('\'', begin) - begin);
  }
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

std::unique_lock<std::recursive_mutex> hdf5_lock() {
  static std::recursive_mutex mutex;
  // We close what we open. At exit the library would close once more what it could not (a full
  // disk), and crashes.
  [[maybe_unused]] static const herr_t is_left_alone = H5dont_atexit();
  std::unique_lock lock(mutex);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  return lock;
}

H5Handle::H5Handle(hid_t id, Close close, const std::string& what) : id_(id), close_(close) {
  if (id < 0) throw data_error("{}: HDF5 says: {}", what, last_reason());
}

H5Handle::~H5Handle() {
  if (id_ < 0) return;
  const auto lock = hdf5_lock();
  close_(id_);
}

void H5Handle::close(const std::string& what) {
  const auto lock = hdf5_lock();
  check_hdf5(close_(std::exchange(id_, -1)), what);
}

void check_hdf5(herr_t status, const std::string& what) {
  if (status < 0) throw data_error("{}: HDF5 says: {}", what, last_reason());
}

H5Handle open_hdf5(const std::filesystem::path& path) {
  File::open_read(path);  // its messages are clearer, and it refuses what is no plain file
  const auto lock = hdf5_lock();
  const std::string what = fmt::format("cannot open '{}' as an HDF5 file", path.string());
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  check_hdf5(H5Pset_file_locking(access.get(), false, true), what);
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, what};
}

H5Handle create_hdf5(const std::filesystem::path& path) {
  const auto lock = hdf5_lock();
  const std::string what = fmt::format("cannot create '{}'", path.string());
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  check_hdf5(H5Pset_file_locking(access.get(), false, true), what);
  check_hdf5(H5Pset_alignment(access.get(), 1, 4096), what);
  return {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose, what};
}

H5Handle hdf5_type(DType type) {
  const std::string what = "cannot make an HDF5 type";
  const auto copy = [&](hid_t id) { return H5Handle(H5Tcopy(id), H5Tclose, what); };
  switch (type) {
    case DType::kUInt8:
      return copy(H5T_STD_U8LE);
    case DType::kUInt16:
      return copy(H5T_STD_U16LE);
    case DType::kUInt32:
      return copy(H5T_STD_U32LE);
    case DType::kInt32:
      return copy(H5T_STD_I32LE);
    case DType::kInt64:
      return copy(H5T_STD_I64LE);
    case DType::kUInt64:
      return copy(H5T_STD_U64LE);
    case DType::kFloat32:
      return copy(H5T_IEEE_F32LE);
    case DType::kFloat16:
      break;
  }
  // IEEE half: 1 sign, 5 exponent (bias 15) and 10 mantissa bits, as numpy and h5py have it.
  H5Handle half = copy(H5T_IEEE_F32LE);
  check_hdf5(H5Tset_fields(half.get(), 15, 10, 5, 0, 10), what);
  check_hdf5(H5Tset_size(half.get(), 2), what);
  check_hdf5(H5Tset_ebias(half.get(), 15), what);
  return half;
}

std::vector<std::int64_t> shape_of(hid_t dataset) {
  const H5Handle space(H5Dget_space(dataset), H5Sclose, "cannot read a shape");
  const int num_dims = std::max(H5Sget_simple_extent_ndims(space.get()), 0);
  std::vector<hsize_t> dims(static_cast<std::size_t>(num_dims));
  if (num_dims > 0) H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
  return {dims.begin(), dims.end()};
}

bool hdf5_exists(hid_t file, const std::string& path) {
  // H5Lexists wants every link on the way to exist, so each prefix is asked for.
  for (std::size_t end = path.find('/', 1); end != std::string::npos;
       end = path.find('/', end + 1)) {
    if (H5Lexists(file, path.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return H5Lexists(file, path.c_str(), H5P_DEFAULT) > 0;
}

bool hdf5_is_dataset(hid_t file, const std::string& path, const std::string& what) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  // A data set of a newer HDF5 with libver="latest" may have a layout that an older one cannot read.
  const H5Handle object(
      H5Oopen(file, path.c_str(), H5P_DEFAULT), H5Oclose,
      fmt::format("{}: '{}' cannot be opened by HDF5 {}.{}.{} (is it a link that leads nowhere? Or "
                  "was it written by a newer one? Then write it with libver=\"v110\")",
                  what, path, major, minor, release));
  return H5Iget_type(object.get()) == H5I_DATASET;
}

}  // namespace kiln
