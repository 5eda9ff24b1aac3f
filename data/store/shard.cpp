#include "data/store/shard.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/store/files.h"
#include "data/store/stored_array.h"

namespace kiln {
namespace {

struct Column {
  std::string what;  // "shard 'x.h5', field 'image'"
  Shard::Layout layout;
  StoredArray data;
  std::optional<StoredArray> offsets;
};

// `path` is an array itself (files of others), or a group in the layout of our own.
Column open_column(hid_t file, const std::string& path, const std::string& what) {
  if (hdf5_is_dataset(file, path, what))
    return {what, {}, StoredArray(file, path, what), std::nullopt};
  Column column = {what, {}, StoredArray(file, path + "/data", what), std::nullopt};
  if (hdf5_exists(file, path + "/offsets")) {
    column.offsets.emplace(file, path + "/offsets", what);
  }
  return column;
}

void describe(Column& column) {
  Shard::Layout& layout = column.layout;
  layout.info.dtype = column.data.dtype();
  layout.info.is_ragged = column.offsets.has_value();
  layout.num_rows = column.data.num_rows();
  layout.num_values = layout.num_rows;
  layout.is_direct = column.data.is_direct();
  layout.description = column.data.layout();
  layout.begin_byte = column.data.begin_byte();
  if (!column.offsets) {
    layout.info.shape = column.data.row_shape();
    layout.num_values = layout.num_rows * layout.info.row_values();
    return;
  }
  layout.num_rows = column.offsets->num_rows() - 1;
  if (layout.num_rows < 0 || !column.data.row_shape().empty()) {
    throw data_error("{}: a ragged field needs flat data and at least one offset", column.what);
  }
  if (column.offsets->dtype() != DType::kUInt64 || !column.offsets->row_shape().empty()) {
    throw data_error("{}: its offsets are {} [{}]; expected uint64, one for each row and the end",
                     column.what, name(column.offsets->dtype()),
                     fmt::join(column.offsets->row_shape(), ", "));
  }
}

void check_expected(const Column& column, const FieldInfo& expected) {
  const FieldInfo& found = column.layout.info;
  if (found.dtype != expected.dtype || found.is_ragged != expected.is_ragged ||
      (!found.is_ragged && found.shape != expected.shape)) {
    throw data_error("{}: it holds {} [{}]{}, but dataset.json says {} [{}]{}", column.what,
                     name(found.dtype), fmt::join(found.shape, ", "),
                     found.is_ragged ? " ragged" : "", name(expected.dtype),
                     fmt::join(expected.shape, ", "), expected.is_ragged ? " ragged" : "");
  }
}

void check_length(const Column& column, std::int64_t file_bytes) {
  for (const StoredArray* array : {&column.data, column.offsets ? &*column.offsets : nullptr}) {
    if (array != nullptr && array->is_direct() &&
        array->num_bytes() > file_bytes - array->begin_byte()) {
      throw data_error("{}: the file is truncated: it has {} bytes, the field has {} from byte {}",
                       column.what, file_bytes, array->num_bytes(), array->begin_byte());
    }
  }
}

}  // namespace

struct Shard::Impl {
  std::filesystem::path path;
  File file;
  H5Handle hdf5;  // kept where a field needs the library
  std::map<std::string, Column> columns;

  const Column& column(const std::string& field) const {
    const auto found = columns.find(field);
    if (found == columns.end()) {
      throw data_error("shard '{}' has no field '{}'", path.string(), field);
    }
    return found->second;
  }

  template <typename Read>
  void guard(const Column& from, const Read& read) const {
    try {
      read();
    } catch (const Error& error) {
      throw data_error("{}: {}", from.what, error.what());
    }
  }
};

Shard::Shard(const std::filesystem::path& path, const Fields& expected, const FieldPaths& paths)
    : impl_(new Impl{path, File::open_read(path), {}, {}}) {
  const auto lock = hdf5_lock();
  impl_->hdf5 = open_hdf5(path);
  FieldPaths all = paths;
  for (const auto& [name, info] : expected) all.try_emplace(name, "/" + name);
  bool needs_library = false;
  for (const auto& [name, place] : all) {
    if (!expected.empty() && !expected.contains(name)) continue;
    const std::string what = fmt::format("shard '{}', field '{}'", path.string(), name);
    if (!hdf5_exists(impl_->hdf5.get(), place)) {
      throw data_error("{}: there is no '{}' in the file", what, place);
    }
    Column column = open_column(impl_->hdf5.get(), place, what);
    describe(column);
    if (const auto info = expected.find(name); info != expected.end()) {
      check_expected(column, info->second);
      column.layout.info = info->second;
    }
    check_length(column, impl_->file.size_bytes());
    needs_library |= !column.data.is_direct() || (column.offsets && !column.offsets->is_direct());
    impl_->columns.emplace(name, std::move(column));
  }
  if (!needs_library) impl_->hdf5 = {};
}
Shard::~Shard() = default;
Shard::Shard(Shard&&) noexcept = default;

const std::filesystem::path& Shard::path() const { return impl_->path; }
bool Shard::has(const std::string& field) const { return impl_->columns.contains(field); }
const Shard::Layout& Shard::layout(const std::string& field) const {
  return impl_->column(field).layout;
}

void Shard::read_rows(const std::string& field, std::int64_t begin, std::int64_t count,
                      void* out) const {
  const Column& from = impl_->column(field);
  impl_->guard(from, [&] { from.data.read(impl_->file, begin, count, out); });
}

std::vector<std::uint64_t> Shard::row_offsets(const std::string& field) const {
  const Column& from = impl_->column(field);
  KILN_CHECK(from.offsets.has_value(), "{} is not ragged", from.what);
  std::vector<std::uint64_t> offsets(static_cast<std::size_t>(from.offsets->num_rows()));
  impl_->guard(from, [&] {
    from.offsets->read(impl_->file, 0, std::ssize(offsets), offsets.data());
    if (!std::is_sorted(offsets.begin(), offsets.end()) ||
        offsets.back() != static_cast<std::uint64_t>(from.data.num_rows())) {
      throw data_error("the offsets do not ascend to the {} values there are: the file is damaged",
                       from.data.num_rows());
    }
  });
  return offsets;
}

Range Shard::row_range(const std::string& field, std::int64_t row) const {
  const Column& from = impl_->column(field);
  KILN_CHECK(from.offsets.has_value(), "{} is not ragged", from.what);
  std::array<std::uint64_t, 2> ends = {};
  impl_->guard(from, [&] {
    from.offsets->read(impl_->file, row, 2, ends.data());
    if (ends[0] > ends[1] || ends[1] > static_cast<std::uint64_t>(from.data.num_rows())) {
      throw data_error("row {} is said to span values {} to {} of {}: the file is damaged", row,
                       ends[0], ends[1], from.data.num_rows());
    }
  });
  return {static_cast<std::int64_t>(ends[0]), static_cast<std::int64_t>(ends[1])};
}

void Shard::read_values(const std::string& field, Range values, void* out) const {
  const Column& from = impl_->column(field);
  impl_->guard(from, [&] { from.data.read(impl_->file, values.begin, values.size(), out); });
}

void Shard::read_row(const std::string& field, std::int64_t row,
                     std::vector<std::uint8_t>& out) const {
  const Column& from = impl_->column(field);
  Range range = {row, row + 1};
  if (from.offsets) range = row_range(field, row);
  out.resize(static_cast<std::size_t>(range.size() * from.data.row_bytes()));
  impl_->guard(from, [&] { from.data.read(impl_->file, range.begin, range.size(), out.data()); });
}

std::string Shard::hash(const std::string& field) const {
  constexpr std::int64_t kPieceBytes = 4 << 20;
  const Column& from = impl_->column(field);
  Xxh3Stream hash;
  std::vector<std::uint8_t> piece;
  const auto add = [&](const StoredArray& array) {
    const std::int64_t rows = std::max<std::int64_t>(kPieceBytes / array.row_bytes(), 1);
    for (std::int64_t begin = 0; begin < array.num_rows(); begin += rows) {
      const std::int64_t count = std::min(rows, array.num_rows() - begin);
      piece.resize(static_cast<std::size_t>(count * array.row_bytes()));
      array.read(impl_->file, begin, count, piece.data());
      hash.update(piece.data(), piece.size());
    }
  };
  impl_->guard(from, [&] {
    add(from.data);
    if (from.offsets) add(*from.offsets);
  });
  return hash.digest().hex();
}

}  // namespace kiln
