#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/base/work.h"
#include "data/importers/import.h"
#include "data/store/shard_writer.h"

namespace kiln {

/// Exact sums over pixels, from which a dataset's mean and standard deviation follow whatever the
/// order of summation.
struct PixelSums {
  std::uint64_t num_pixels = 0;
  std::vector<std::uint64_t> sum, sum_of_squares;  // per channel, of values 0..255

  /// Interleaved pixels of 1 or 3 channels; among coloured images grey ones count for all three.
  void add(const std::uint8_t* pixels, std::int64_t num_pixels, std::int64_t channels);
  void add(const PixelSums& other);
  /// Per channel, of values in [0, 1]; population standard deviation.
  std::vector<double> mean() const;
  std::vector<double> std() const;
};

/// The frame of an import: shard k holds the items [k, k+1) * items_per_shard, and each rank makes
/// the shards share_of(number of shards, rank, ranks). Beside each shard its description is left as
/// shard-NNNNN.json for finish_import().
class ImportSession {
 public:
  /// `manifest`: all but shards and normalisation. Rank 0 prepares the folder.
  ImportSession(const ImportOptions& options, Manifest manifest, std::int64_t num_items,
                std::int64_t items_per_shard, const LeftOut& left_out = {});

  /// A shard in the making.
  struct Filling {
    Range items;
    ShardWriter& shard;
    PixelSums sums;
    std::vector<BrokenInput> broken;
  };
  using FillShard = std::function<void(Filling&)>;
  /// Makes this rank's shards one after the other; `fill` appends the rows of their items.
  ImportResult run(const FillShard& fill);
  /// Items of this rank's shards together.
  std::int64_t num_own_items() const;

 private:
  Range items_of(std::int64_t shard) const;

  const ImportOptions& options_;
  Manifest manifest_;
  std::int64_t num_items_;
  std::int64_t items_per_shard_;
  Range my_shards_;
};

}  // namespace kiln
