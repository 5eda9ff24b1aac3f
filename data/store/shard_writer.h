#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/store/manifest.h"

namespace kiln {

/// Makes one shard file. Rows are gathered in memory (the size of a shard is the bound) and written
/// at once by finish(), because a contiguous HDF5 array is created with its final size.
///
/// Layout for a field F: /F/data, contiguous, beginning at a multiple of 4 KiB, [N, ...] for fixed
/// rows and [values] for ragged ones, which also have /F/offsets, uint64 [N + 1], in values.
///
/// Not thread-safe; several writers may work at once.
class ShardWriter {
 public:
  ShardWriter(std::filesystem::path path, Fields fields);

  /// One more row of `field`. Throws if the size does not fit the field.
  void append(const std::string& field, std::span<const std::uint8_t> row);
  /// Several fixed rows at once.
  void append_rows(const std::string& field, std::span<const std::uint8_t> rows);
  /// A scalar row.
  template <typename T>
  void append_value(const std::string& field, T value) {
    append(field, {reinterpret_cast<const std::uint8_t*>(&value), sizeof(value)});
  }
  std::int64_t size_bytes() const { return size_bytes_; }
  std::int64_t num_rows(const std::string& field) const;

  /// Writes PATH.partial, flushes it to disk, reads it again and renames it. Fields must have
  /// equally many rows, those `is_aside` excepted. Throws Error(kData), and leaves no file, if
  /// anything of it fails (a full disk).
  ShardInfo finish();

 private:
  struct Column {
    FieldInfo info;
    std::vector<std::uint8_t> bytes;
    std::vector<std::uint64_t> offsets = {0};  // ragged
    std::int64_t num_rows = 0;
  };
  Column& column(const std::string& field);
  void check_written(const std::filesystem::path& partial,
                     const std::map<std::string, std::string>& hashes) const;

  std::filesystem::path path_;
  std::map<std::string, Column> columns_;
  std::int64_t size_bytes_ = 0;
};

/// "shard-00012.h5"
std::string shard_file_name(std::int64_t number);

/// Writes a dataset sample by sample into shards of about `shard_bytes`, dataset.json last: a
/// reader sees a whole dataset or none. Refuses a folder that holds a dataset already.
///
///   DatasetWriter writer(out, manifest);            // kind, fields, class names, ... filled in
///   writer.append("image", bytes); writer.append("label", ...); writer.end_sample();
///   writer.finish();
class DatasetWriter {
 public:
  static constexpr std::int64_t kShardBytes = std::int64_t{256} << 20;

  DatasetWriter(std::filesystem::path folder, Manifest manifest,
                std::int64_t shard_bytes = kShardBytes);
  void append(const std::string& field, std::span<const std::uint8_t> row);
  template <typename T>
  void append_value(const std::string& field, T value) {
    append(field, {reinterpret_cast<const std::uint8_t*>(&value), sizeof(value)});
  }
  void end_sample();
  /// Facts that become known on the way (normalisation, class names, attributes) may be set until
  /// finish().
  Manifest& manifest() { return manifest_; }
  Manifest finish();

 private:
  ShardWriter& shard();
  void close_shard();

  std::filesystem::path folder_;
  Manifest manifest_;
  std::int64_t shard_bytes_;
  std::optional<ShardWriter> open_;  // the shard being filled
};

/// Creates the folder if needed; throws Error(kData) if it holds a dataset.json, or cannot be made.
void prepare_dataset_folder(const std::filesystem::path& folder);

}  // namespace kiln
