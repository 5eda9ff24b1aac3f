#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/store/manifest.h"
#include "data/store/shard.h"

namespace kiln {

/// A dataset folder (docs/datasets.md), or HDF5 files made by others read in place: then `path` is
/// such a file or a folder of *.h5, *.hdf5, and `mapping` says which array is which field.
///
/// Sample ids are rows counted through the shards in order, 0 .. num_samples-1.
///
/// Thread safety: const members may be called from several threads. Shards are opened when first
/// needed; the most recently used ones stay open.
class Dataset {
 public:
  struct Place {
    std::int64_t shard = 0;
    std::int64_t row = 0;
  };

  /// Checks that all shards are there with the right length (not their contents: `kiln data
  /// verify`).
  explicit Dataset(const std::filesystem::path& path, FieldPaths mapping = {});
  /// HDF5 files made by others, in this order.
  Dataset(const std::vector<std::filesystem::path>& files, FieldPaths mapping);

  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  const FieldPaths& mapping() const { return mapping_; }
  std::int64_t num_samples() const { return first_ids_.back(); }
  std::int64_t num_shards() const { return std::ssize(manifest_.shards); }
  /// Samples of the largest shard: what a shuffle takes as a block.
  std::int64_t shard_samples() const;

  Place locate(std::int64_t id) const;
  /// "shard-00003.h5, row 17"
  std::string describe(std::int64_t id) const;
  std::shared_ptr<const Shard> shard(std::int64_t number) const;
  /// Says in the log which fields are read slowly, and how to repack them.
  void warn_if_slow() const;

 private:
  static constexpr std::size_t kMaxOpenShards = 128;

  void read_foreign(const std::vector<std::filesystem::path>& files);
  void check_files() const;
  void check_fields() const;
  void number_samples();

  std::filesystem::path folder_;
  Manifest manifest_;
  FieldPaths mapping_;
  std::vector<std::int64_t> first_ids_;  // per shard, and the total

  mutable std::mutex mutex_;
  mutable std::vector<std::shared_ptr<const Shard>> open_;
  mutable std::list<std::int64_t> recent_;  // numbers of open shards, most recently opened first
};

}  // namespace kiln
