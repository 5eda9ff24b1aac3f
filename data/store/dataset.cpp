#include "data/store/dataset.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/report/log.h"
#include "data/store/labels.h"

namespace kiln {
namespace {

std::vector<std::filesystem::path> hdf5_files(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const auto extension = entry.path().extension();
    if (extension == ".h5" || extension == ".hdf5") files.push_back(entry.path());
  }
  if (files.empty()) throw data_error("'{}' has no *.h5 or *.hdf5 file", path.string());
  std::sort(files.begin(), files.end());
  return files;
}

// A field of a file made by others, as the manifest would describe it.
void add_foreign_field(Manifest& manifest, ShardInfo& shard, const std::string& field,
                       const std::string& place, const Shard::Layout& layout) {
  FieldInfo found = layout.info;
  if (field == "image" && found.is_ragged) found.encoding = "image";
  if (!manifest.fields.try_emplace(field, found).second && manifest.fields[field] != found) {
    throw data_error("'{}', field '{}': type or shape differs from '{}'", shard.file, field,
                     manifest.shards.front().file);
  }
  if (shard.num_samples >= 0 && shard.num_samples != layout.num_rows) {
    throw data_error("'{}': field '{}' ('{}') has {} rows, another field {}", shard.file, field,
                     place, layout.num_rows, shard.num_samples);
  }
  shard.num_samples = layout.num_rows;
  shard.rows[field] = layout.num_rows;
  // Files of others are not hashed: their length stands in.
  shard.hashes[field] = fmt::format("unhashed, {} bytes", shard.file_bytes);
}

}  // namespace

Dataset::Dataset(const std::filesystem::path& path, FieldPaths mapping)
    : folder_(path), mapping_(std::move(mapping)) {
  if (!std::filesystem::exists(path)) {
    throw data_error(
        "there is no dataset at '{}'. `kiln data import` makes one, as the head of a recipe says; "
        "data.path or eval.path names one that is elsewhere",
        path.string());
  }
  if (mapping_.empty()) {
    manifest_ = read_manifest(path);
    check_files();
  } else {
    read_foreign(hdf5_files(path));
  }
  number_samples();
  check_fields();
}

Dataset::Dataset(const std::vector<std::filesystem::path>& files, FieldPaths mapping)
    : mapping_(std::move(mapping)) {
  read_foreign(files);
  number_samples();
  check_fields();
}

void Dataset::check_fields() const {
  const auto label = manifest_.fields.find("label");
  if (label == manifest_.fields.end()) return;
  const auto place = mapping_.find("label");
  const std::string where = place == mapping_.end()
                                ? folder_.string()
                                : (folder_ / manifest_.shards.front().file).string();
  check_label_field(label->second,
                    fmt::format("'{}', field 'label'{}", where,
                                place == mapping_.end() ? "" : " ('" + place->second + "')"));
}

void Dataset::number_samples() {
  first_ids_ = {0};
  for (const ShardInfo& shard : manifest_.shards) {
    first_ids_.push_back(first_ids_.back() + shard.num_samples);
  }
  if (num_samples() == 0) throw data_error("the dataset '{}' has no samples", folder_.string());
  open_.resize(manifest_.shards.size());
}

void Dataset::read_foreign(const std::vector<std::filesystem::path>& files) {
  folder_ = files.front().parent_path();
  for (const auto& file : files) {
    const Shard shard(file, {}, mapping_);
    ShardInfo info;
    info.file = file.lexically_proximate(folder_).string();
    info.file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(file));
    info.num_samples = -1;
    for (const auto& [field, place] : mapping_) {
      add_foreign_field(manifest_, info, field, place, shard.layout(field));
    }
    manifest_.shards.push_back(std::move(info));
  }
  for (const ShardInfo& shard : manifest_.shards) manifest_.num_samples += shard.num_samples;
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

void Dataset::warn_if_slow() const {
  std::string slow;
  for (const auto& [name, info] : manifest_.fields) {
    const Shard::Layout layout = shard(0)->layout(name);
    if (!layout.is_direct) slow += fmt::format("; '{}' in {}", name, layout.description);
  }
  if (slow.empty()) return;
  log_warning(
      "'{}' is read through the HDF5 library, one thread at a time{}. `kiln data doctor` says what "
      "that costs and how to repack it",
      shard(0)->path().string(), slow);
}

}  // namespace kiln
