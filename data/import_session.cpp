#include "data/import_session.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/files.h"
#include "data/manifest_json.h"

namespace kiln {
namespace {

constexpr const char* kDescription = "import.json";  // the manifest without its shards

std::filesystem::path description_of(const std::filesystem::path& shard) {
  return std::filesystem::path(shard).replace_extension(".json");
}

nlohmann::ordered_json parse_file(const std::filesystem::path& path) {
  const auto bytes = read_file(path);
  try {
    return nlohmann::ordered_json::parse(bytes);
  } catch (const nlohmann::json::exception& error) {
    throw data_error("'{}' is damaged: {}; run the import again", path.string(), error.what());
  }
}

}  // namespace

void PixelSums::add(const std::uint8_t* pixels, std::int64_t count, std::int64_t channels) {
  const auto width = static_cast<std::size_t>(channels);
  if (sum.size() < width) {
    sum.resize(width);
    sum_of_squares.resize(width);
  }
  for (std::size_t c = 0; c < width; ++c) {
    std::uint64_t total = 0;
    std::uint64_t squares = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint64_t value = pixels[i * channels + static_cast<std::int64_t>(c)];
      total += value;
      squares += value * value;
    }
    sum[c] += total;
    sum_of_squares[c] += squares;
  }
  num_pixels += static_cast<std::uint64_t>(count);
}

void PixelSums::add(const PixelSums& other) {
  sum.resize(std::max(sum.size(), other.sum.size()));
  sum_of_squares.resize(sum.size());
  for (std::size_t c = 0; c < other.sum.size(); ++c) {
    sum[c] += other.sum[c];
    sum_of_squares[c] += other.sum_of_squares[c];
  }
  num_pixels += other.num_pixels;
}

std::vector<double> PixelSums::mean() const {
  std::vector<double> mean;
  for (const std::uint64_t total : sum) {
    mean.push_back(static_cast<double>(total) / static_cast<double>(num_pixels) / 255.0);
  }
  return mean;
}

std::vector<double> PixelSums::std() const {
  const std::vector<double> centre = mean();
  std::vector<double> std;
  for (std::size_t c = 0; c < sum.size(); ++c) {
    const double square =
        static_cast<double>(sum_of_squares[c]) / static_cast<double>(num_pixels) / (255.0 * 255.0);
    std.push_back(std::sqrt(std::max(square - centre[c] * centre[c], 0.0)));
  }
  return std;
}

ImportSession::ImportSession(const ImportOptions& options, Manifest manifest,
                             std::int64_t num_items, std::int64_t items_per_shard)
    : options_(options),
      manifest_(std::move(manifest)),
      num_items_(num_items),
      items_per_shard_(std::max<std::int64_t>(items_per_shard, 1)) {
  if (num_items == 0) throw data_error("the input has no samples");
  prepare_dataset_folder(options.out);
  if (options.rank == 0) {
    write_file_atomically(options.out / kDescription, manifest_to_json(manifest_).dump(1));
  }
}

ImportResult ImportSession::run(const FillShard& fill) {
  const std::int64_t num_shards = (num_items_ + items_per_shard_ - 1) / items_per_shard_;
  const Range mine = share_of(num_shards, options_.rank, options_.num_ranks);
  ImportResult result;
  for (std::int64_t number = mine.begin; number < mine.end; ++number) {
    const Range items = {number * items_per_shard_,
                         std::min((number + 1) * items_per_shard_, num_items_)};
    const auto path = options_.out / shard_file_name(number);
    ShardWriter writer(path, manifest_.fields);
    PixelSums sums;
    fill(items, writer, sums);
    const ShardInfo shard = writer.finish();
    const nlohmann::ordered_json description = {
        {"shard", shard_to_json(shard)},
        {"pixels", {sums.num_pixels, sums.sum, sums.sum_of_squares}}};
    write_file_atomically(description_of(path), description.dump(1));
    result.num_samples += shard.num_samples;
    result.bytes += shard.file_bytes;
  }
  return result;
}

Manifest finish_import(const std::filesystem::path& out) {
  Manifest manifest = manifest_from_json(parse_file(out / kDescription));
  PixelSums sums;
  std::vector<std::filesystem::path> descriptions;
  for (std::int64_t number = 0;; ++number) {
    const auto path = description_of(out / shard_file_name(number));
    if (!std::filesystem::exists(path)) break;
    const auto json = parse_file(path);
    descriptions.push_back(path);
    const auto& pixels = json.at("pixels");
    sums.add(PixelSums{pixels[0], pixels[1], pixels[2]});
    ShardInfo shard = shard_from_json(json.at("shard"));
    if (shard.num_samples > 0) manifest.shards.push_back(std::move(shard));
  }
  if (manifest.shards.empty()) throw data_error("no sample of the input could be imported");
  if (sums.num_pixels > 0) {
    manifest.mean = sums.mean();
    manifest.std = sums.std();
  }
  write_manifest(out, manifest);
  for (const auto& path : descriptions) std::filesystem::remove(path);
  std::filesystem::remove(out / kDescription);
  return read_manifest(out);
}

}  // namespace kiln
