#include "data/store/shard_writer.h"

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/store/files.h"
#include "data/store/hdf5_handle.h"
#include "data/store/shard.h"

namespace kiln {
namespace {

void write_array(hid_t file, const std::string& path, DType type,
                 const std::vector<std::int64_t>& shape, const void* values,
                 const std::string& what) {
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  const H5Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr),
                       H5Sclose, what);
  const H5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, what);
  check_hdf5(H5Pset_create_intermediate_group(links.get(), 1), what);
  const H5Handle create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  check_hdf5(H5Pset_layout(create.get(), H5D_CONTIGUOUS), what);
  check_hdf5(H5Pset_alloc_time(create.get(), H5D_ALLOC_TIME_EARLY), what);
  check_hdf5(H5Pset_fill_time(create.get(), H5D_FILL_TIME_NEVER), what);
  check_hdf5(H5Pset_obj_track_times(create.get(), false), what);  // equal contents, equal bytes
  const H5Handle disk_type = hdf5_type(type);
  H5Handle dataset(H5Dcreate2(file, path.c_str(), disk_type.get(), space.get(), links.get(),
                              create.get(), H5P_DEFAULT),
                   H5Dclose, what);
  if (shape[0] > 0) {
    check_hdf5(H5Dwrite(dataset.get(), disk_type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values),
               what);
  }
  dataset.close(what);
}

}  // namespace

ShardWriter::ShardWriter(std::filesystem::path path, Fields fields) : path_(std::move(path)) {
  for (auto& [name, info] : fields) columns_[name].info = info;
}

ShardWriter::Column& ShardWriter::column(const std::string& field) {
  const auto found = columns_.find(field);
  KILN_CHECK(found != columns_.end(), "shard '{}' has no field '{}'", path_.string(), field);
  return found->second;
}

std::int64_t ShardWriter::num_rows(const std::string& field) const {
  return columns_.at(field).num_rows;
}

void ShardWriter::append(const std::string& field, std::span<const std::uint8_t> row) {
  Column& to = column(field);
  if (!to.info.is_ragged) {
    KILN_CHECK(std::ssize(row) == to.info.row_bytes(), "a row of '{}' has {} bytes, not {}", field,
               to.info.row_bytes(), row.size());
  }
  const std::int64_t value_bytes = kiln::size_bytes(to.info.dtype);
  KILN_CHECK(std::ssize(row) % value_bytes == 0, "a row of '{}' ends within a value", field);
  to.bytes.insert(to.bytes.end(), row.begin(), row.end());
  if (to.info.is_ragged)
    to.offsets.push_back(to.bytes.size() / static_cast<std::size_t>(value_bytes));
  ++to.num_rows;
  size_bytes_ += std::ssize(row) + (to.info.is_ragged ? 8 : 0);
}

void ShardWriter::append_rows(const std::string& field, std::span<const std::uint8_t> rows) {
  Column& to = column(field);
  const std::int64_t row_bytes = to.info.row_bytes();
  KILN_CHECK(!to.info.is_ragged && std::ssize(rows) % row_bytes == 0,
             "rows of '{}' have {} bytes each", field, row_bytes);
  to.bytes.insert(to.bytes.end(), rows.begin(), rows.end());
  to.num_rows += std::ssize(rows) / row_bytes;
  size_bytes_ += std::ssize(rows);
}

ShardInfo ShardWriter::finish() {
  const std::filesystem::path partial = path_.string() + ".partial";
  const RemoveOnFailure guard(partial);
  ShardInfo shard;
  shard.file = path_.filename().string();
  shard.num_samples = -1;
  {
    const auto lock = hdf5_lock();
    H5Handle file = create_hdf5(partial);
    const std::string what = fmt::format("cannot write '{}'", partial.string());
    for (const auto& [name, column] : columns_) {
      if (!column.info.is_aside) {
        KILN_CHECK(shard.num_samples == -1 || shard.num_samples == column.num_rows,
                   "field '{}' has {} rows, another {}", name, column.num_rows, shard.num_samples);
        shard.num_samples = column.num_rows;
      }
      std::vector<std::int64_t> shape = column.info.shape;
      shape.insert(shape.begin(), column.num_rows);
      if (column.info.is_ragged) shape = {static_cast<std::int64_t>(column.offsets.back())};
      write_array(file.get(), "/" + name + "/data", column.info.dtype, shape, column.bytes.data(),
                  what);
      if (!column.info.is_ragged) continue;
      write_array(file.get(), "/" + name + "/offsets", DType::kUInt64, {std::ssize(column.offsets)},
                  column.offsets.data(), what);
    }
    // The library keeps back what is small: only these two say whether all of it was written.
    check_hdf5(H5Fflush(file.get(), H5F_SCOPE_LOCAL), what);
    file.close(what);
  }
  for (const auto& [name, column] : columns_) {
    Xxh3Stream hash;
    hash.update(column.bytes.data(), column.bytes.size());
    if (column.info.is_ragged) {
      hash.update(column.offsets.data(), column.offsets.size() * sizeof(std::uint64_t));
    }
    shard.rows[name] = column.num_rows;
    shard.hashes[name] = hash.digest().hex();
  }
  {
    const File file = File::open_write(partial);
    file.sync();
    shard.file_bytes = file.size_bytes();
  }
  check_written(partial, shard.hashes);
  shard.file_hash = hash_file(partial, ExitCode::kData).xxh3;
  rename_durably(partial, path_);
  return shard;
}

/// What lies on the disk is read again: its hashes are what the shard is known by.
void ShardWriter::check_written(const std::filesystem::path& partial,
                                const std::map<std::string, std::string>& hashes) const {
  Fields fields;
  for (const auto& [name, column] : columns_) fields[name] = column.info;
  const Shard written(partial, fields);
  for (const auto& [name, hash] : hashes) {
    if (written.hash(name) == hash) continue;
    throw data_error(
        "'{}', field '{}': what was read back differs from what was written; is the disk full or "
        "failing?",
        partial.string(), name);
  }
}

std::string shard_file_name(std::int64_t number) { return fmt::format("shard-{:05}.h5", number); }

void prepare_dataset_folder(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw data_error("cannot create '{}': {}", folder.string(), code.message());
  if (std::filesystem::exists(folder / "dataset.json")) {
    throw data_error("'{}' holds a dataset already: remove it or choose another folder",
                     folder.string());
  }
}

DatasetWriter::DatasetWriter(std::filesystem::path folder, Manifest manifest,
                             std::int64_t shard_bytes)
    : folder_(std::move(folder)), manifest_(std::move(manifest)), shard_bytes_(shard_bytes) {
  prepare_dataset_folder(folder_);
}

ShardWriter& DatasetWriter::shard() {
  if (!open_) {
    open_.emplace(folder_ / shard_file_name(std::ssize(manifest_.shards)), manifest_.fields);
  }
  return *open_;
}

void DatasetWriter::append(const std::string& field, std::span<const std::uint8_t> row) {
  shard().append(field, row);
}

void DatasetWriter::end_sample() {
  if (shard().size_bytes() >= shard_bytes_) close_shard();
}

void DatasetWriter::close_shard() {
  manifest_.shards.push_back(shard().finish());
  open_.reset();
}

Manifest DatasetWriter::finish() {
  if (open_) close_shard();
  if (manifest_.shards.empty()) {
    throw data_error("nothing to write to '{}': the input has no samples", folder_.string());
  }
  write_manifest(folder_, manifest_);
  return read_manifest(folder_);
}

}  // namespace kiln
