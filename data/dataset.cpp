#include "data/dataset.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/error.h"

namespace kiln {
namespace {

std::vector<std::filesystem::path> hdf5_files(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const auto extension = entry.path().extension();
    if (extension == ".h5" || extension == ".hdf5") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Two-dimensional rows are grey images, ragged bytes are image files.
FieldInfo guess_meaning(const std::string& field, FieldInfo info) {
  if (field == "image" && info.is_ragged) info.encoding = "image";
  return info;
}

void notice_slow_layout(const Shard& shard, const std::string& field) {
  const Shard::Layout& layout = shard.layout(field);
  if (layout.is_direct) return;
  spdlog::warn(
      "'{}', field '{}': {}: read through the HDF5 library, one thread at a time. `kiln data "
      "doctor` "
      "says what that costs and repacks it",
      shard.path().string(), field, layout.description);
}

}  // namespace

Dataset::Dataset(const std::filesystem::path& path, FieldPaths mapping)
    : folder_(path), mapping_(std::move(mapping)) {
  if (!std::filesystem::exists(path)) {
    throw data_error("there is no dataset at '{}'", path.string());
  }
  if (mapping_.empty()) {
    manifest_ = read_manifest(path);
    check_files();
  } else {
    read_foreign(path);
  }
  first_ids_ = {0};
  for (const ShardInfo& shard : manifest_.shards) {
    first_ids_.push_back(first_ids_.back() + shard.num_samples);
  }
  if (num_samples() == 0) throw data_error("the dataset '{}' has no samples", path.string());
  open_.resize(manifest_.shards.size());
  for (const auto& [name, info] : manifest_.fields) notice_slow_layout(*shard(0), name);
}

void Dataset::read_foreign(const std::filesystem::path& path) {
  const auto files = hdf5_files(path);
  if (files.empty()) throw data_error("'{}' has no *.h5 or *.hdf5 file", path.string());
  if (!std::filesystem::is_directory(path)) folder_ = path.parent_path();
  for (const auto& file : files) {
    const Shard shard(file, {}, mapping_);
    ShardInfo info;
    info.file = file.filename().string();
    info.file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(file));
    info.num_samples = -1;
    for (const auto& [field, place] : mapping_) {
      const Shard::Layout& layout = shard.layout(field);
      const FieldInfo found = guess_meaning(field, layout.info);
      if (!manifest_.fields.try_emplace(field, found).second && manifest_.fields[field] != found) {
        throw data_error("'{}', field '{}': type or shape differs from '{}'", file.string(), field,
                         files.front().string());
      }
      if (info.num_samples >= 0 && info.num_samples != layout.num_rows) {
        throw data_error("'{}': field '{}' ('{}') has {} rows, another field {}", file.string(),
                         field, place, layout.num_rows, info.num_samples);
      }
      info.num_samples = layout.num_rows;
      info.rows[field] = layout.num_rows;
      // Files of others are not hashed: their length stands in.
      info.hashes[field] = fmt::format("unhashed, {} bytes", info.file_bytes);
    }
    manifest_.num_samples += info.num_samples;
    manifest_.shards.push_back(std::move(info));
  }
  manifest_.kind = mapping_.contains("tokens")    ? "text"
                   : mapping_.contains("moments") ? "latent"
                                                  : "image";
}

void Dataset::check_files() const {
  for (const ShardInfo& shard : manifest_.shards) {
    const auto path = folder_ / shard.file;
    std::error_code code;
    const auto bytes = std::filesystem::file_size(path, code);
    if (code) throw data_error("shard '{}' is missing: {}", path.string(), code.message());
    if (static_cast<std::int64_t>(bytes) != shard.file_bytes) {
      throw data_error(
          "shard '{}' has {} bytes, dataset.json says {}: it is truncated or was replaced; copy or "
          "import it again (`kiln data verify {}` checks all)",
          path.string(), bytes, shard.file_bytes, folder_.string());
    }
  }
}

std::int64_t Dataset::shard_samples() const {
  std::int64_t largest = 1;
  for (const ShardInfo& shard : manifest_.shards) largest = std::max(largest, shard.num_samples);
  return largest;
}

Dataset::Place Dataset::locate(std::int64_t id) const {
  KILN_CHECK(id >= 0 && id < num_samples(), "sample {} of {}", id, num_samples());
  const auto next = std::upper_bound(first_ids_.begin(), first_ids_.end(), id);
  const std::int64_t number = std::distance(first_ids_.begin(), next) - 1;
  return {number, id - first_ids_[static_cast<std::size_t>(number)]};
}

std::string Dataset::describe(std::int64_t id) const {
  const Place place = locate(id);
  return fmt::format(
      "shard '{}', row {}",
      (folder_ / manifest_.shards[static_cast<std::size_t>(place.shard)].file).string(), place.row);
}

std::shared_ptr<const Shard> Dataset::shard(std::int64_t number) const {
  const auto index = static_cast<std::size_t>(number);
  {
    const std::lock_guard lock(mutex_);
    if (open_[index]) return open_[index];
  }
  // Opened without the lock: a slow file system must not hold up readers of other shards.
  auto opened = std::make_shared<const Shard>(folder_ / manifest_.shards[index].file,
                                              manifest_.fields, mapping_);
  for (const auto& [field, rows] : manifest_.shards[index].rows) {
    if (opened->layout(field).num_rows != rows) {
      throw data_error("shard '{}', field '{}': it has {} rows, dataset.json says {}",
                       opened->path().string(), field, opened->layout(field).num_rows, rows);
    }
  }
  const std::lock_guard lock(mutex_);
  if (open_[index]) return open_[index];
  open_[index] = opened;
  recent_.push_front(number);
  if (recent_.size() > kMaxOpenShards) {
    open_[static_cast<std::size_t>(recent_.back())].reset();
    recent_.pop_back();
  }
  return opened;
}

}  // namespace kiln
