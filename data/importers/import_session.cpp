#include "data/importers/import_session.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/store/class_map.h"
#include "data/store/files.h"
#include "data/store/manifest_json.h"

namespace kiln {
namespace {

constexpr const char* kFrame = "import.json";  // the manifest without its shards, their number

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

nlohmann::ordered_json to_json(const LeftOut& left_out) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [reason, which] : left_out.reasons) {
    json[reason] = {which.count, which.examples};
  }
  return json;
}

LeftOut left_out_from_json(const nlohmann::ordered_json& json) {
  LeftOut left_out;
  for (const auto& [reason, which] : json.items()) left_out.reasons[reason] = {which[0], which[1]};
  return left_out;
}

}  // namespace

void LeftOut::add(const std::string& reason, const std::string& example) {
  Reason& which = reasons[reason];
  ++which.count;
  if (which.examples.size() < kExamples) which.examples.push_back(example);
}

void LeftOut::add(const std::string& reason, const Reason& which) {
  for (const std::string& example : which.examples) add(reason, example);
  reasons[reason].count += which.count - std::ssize(which.examples);
}

std::int64_t LeftOut::count() const {
  std::int64_t count = 0;
  for (const auto& [reason, which] : reasons) count += which.count;
  return count;
}

namespace {

void widen(PixelSums& sums, std::size_t channels) {
  if (sums.sum.size() >= channels) return;
  sums.sum.resize(channels, sums.sum.empty() ? 0 : sums.sum[0]);
  sums.sum_of_squares.resize(channels, sums.sum_of_squares.empty() ? 0 : sums.sum_of_squares[0]);
}

}  // namespace

void PixelSums::add(const std::uint8_t* pixels, std::int64_t count, std::int64_t channels) {
  const auto width = static_cast<std::size_t>(channels);
  PixelSums added = {static_cast<std::uint64_t>(count), {}, {}};
  for (std::size_t c = 0; c < width; ++c) {
    std::uint64_t total = 0;
    std::uint64_t squares = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint32_t value = pixels[i * channels + static_cast<std::int64_t>(c)];
      total += value;
      squares += value * value;
    }
    added.sum.push_back(total);
    added.sum_of_squares.push_back(squares);
  }
  add(added);
}

void PixelSums::add(const PixelSums& other) {
  PixelSums added = other;
  const std::size_t channels = std::max(sum.size(), other.sum.size());
  widen(*this, channels);
  widen(added, channels);
  for (std::size_t c = 0; c < channels; ++c) {
    sum[c] += added.sum[c];
    sum_of_squares[c] += added.sum_of_squares[c];
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
                             std::int64_t num_items, std::int64_t items_per_shard,
                             const LeftOut& left_out)
    : options_(options),
      manifest_(std::move(manifest)),
      num_items_(num_items),
      items_per_shard_(std::max<std::int64_t>(items_per_shard, 1)) {
  if (num_items == 0) throw data_error("the input has no samples");
  prepare_dataset_folder(options.out);
  const std::int64_t num_shards = (num_items_ + items_per_shard_ - 1) / items_per_shard_;
  if (options.rank == 0) {
    const nlohmann::ordered_json frame = {{"manifest", manifest_to_json(manifest_)},
                                          {"num_shards", num_shards},
                                          {"left_out", to_json(left_out)}};
    write_file_atomically(options.out / kFrame, json_text(frame));
  }
  // Files of an import that failed must not be taken for files of this one.
  my_shards_ = share_of(num_shards, options.rank, options.num_ranks);
  for (std::int64_t number = my_shards_.begin; number < my_shards_.end; ++number) {
    std::error_code code;
    const auto left_behind = description_of(options.out / shard_file_name(number));
    std::filesystem::remove(left_behind, code);
    if (code) throw data_error("cannot remove '{}': {}", left_behind.string(), code.message());
  }
}

Range ImportSession::items_of(std::int64_t shard) const {
  return {shard * items_per_shard_, std::min((shard + 1) * items_per_shard_, num_items_)};
}

std::int64_t ImportSession::num_own_items() const {
  if (my_shards_.size() == 0) return 0;
  return items_of(my_shards_.end - 1).end - items_of(my_shards_.begin).begin;
}

ImportResult ImportSession::run(const FillShard& fill) {
  ImportResult result;
  for (std::int64_t number = my_shards_.begin; number < my_shards_.end; ++number) {
    const auto path = options_.out / shard_file_name(number);
    ShardWriter writer(path, manifest_.fields);
    Filling filling = {
        {number * items_per_shard_, std::min((number + 1) * items_per_shard_, num_items_)},
        writer,
        {},
        {}};
    fill(filling);
    const ShardInfo shard = writer.finish();
    nlohmann::ordered_json description = {
        {"shard", shard_to_json(shard)},
        {"pixels", {filling.sums.num_pixels, filling.sums.sum, filling.sums.sum_of_squares}},
        {"broken", nlohmann::ordered_json::array()}};
    for (const auto& [file, reason] : filling.broken) {
      description["broken"].push_back({file, reason});
    }
    write_file_atomically(description_of(path), json_text(description));
    result.num_samples += shard.num_samples;
    result.bytes += shard.file_bytes;
  }
  return result;
}

namespace {

void throw_if_broken(const std::vector<BrokenInput>& broken, const ImportOptions& options) {
  if (broken.empty() || options.skip_broken) return;
  constexpr std::size_t kShown = 20;
  std::string list;
  for (std::size_t i = 0; i < std::min(broken.size(), kShown); ++i) {
    list += fmt::format("\n  {}: {}", broken[i].file, broken[i].reason);
  }
  if (broken.size() > kShown) list += fmt::format("\n  and {} more", broken.size() - kShown);
  throw data_error("{} of the inputs cannot be used; --skip-broken leaves them out:{}",
                   broken.size(), list);
}

}  // namespace

FinishedImport finish_import(const ImportOptions& options) {
  const auto frame = parse_file(options.out / kFrame);
  FinishedImport done = {manifest_from_json(frame.at("manifest")), {}, {}, {}};
  done.left_out = left_out_from_json(frame.at("left_out"));
  PixelSums sums;
  std::vector<std::filesystem::path> left_over = {options.out / kFrame};
  for (std::int64_t number = 0; number < frame.at("num_shards").get<std::int64_t>(); ++number) {
    const auto path = options.out / shard_file_name(number);
    const auto json = parse_file(description_of(path));
    left_over.push_back(description_of(path));
    const auto& pixels = json.at("pixels");
    sums.add(PixelSums{pixels[0], pixels[1], pixels[2]});
    for (const auto& broken : json.at("broken")) done.skipped.push_back({broken[0], broken[1]});
    ShardInfo shard = shard_from_json(json.at("shard"));
    if (shard.num_samples == 0) {
      left_over.push_back(path);
    } else {
      done.manifest.shards.push_back(std::move(shard));
    }
  }
  throw_if_broken(done.skipped, options);
  if (done.manifest.shards.empty()) throw data_error("no sample of the input could be used");
  if (sums.num_pixels > 0) {
    done.manifest.mean = sums.mean();
    done.manifest.std = sums.std();
    done.manifest.attributes["channels"] = std::to_string(sums.sum.size());
  }
  write_manifest(options.out, done.manifest);
  std::error_code code;  // what cannot be removed does no harm
  for (const auto& path : left_over) std::filesystem::remove(path, code);
  const Dataset dataset(options.out);
  done.manifest = dataset.manifest();
  if (!done.manifest.class_names.empty()) done.class_counts = count_classes(dataset);
  return done;
}

}  // namespace kiln
