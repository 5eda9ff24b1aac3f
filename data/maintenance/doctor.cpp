#include "data/maintenance/doctor.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "data/images/image_source.h"
#include "data/sample_order.h"
#include "data/store/dataset.h"
#include "data/store/files.h"

namespace kiln {
namespace {

using Clock = std::chrono::steady_clock;

std::string file_system_of(const std::filesystem::path& path) {
  constexpr std::int64_t kLustre = 0x0BD00BD0, kXfs = 0x58465342, kGpfs = 0x47504653;
  static const std::map<std::int64_t, std::string> kNames = {{EXT4_SUPER_MAGIC, "ext4"},
                                                             {NFS_SUPER_MAGIC, "nfs"},
                                                             {TMPFS_MAGIC, "tmpfs"},
                                                             {BTRFS_SUPER_MAGIC, "btrfs"},
                                                             {OVERLAYFS_SUPER_MAGIC, "overlay"},
                                                             {kLustre, "lustre"},
                                                             {kXfs, "xfs"},
                                                             {kGpfs, "gpfs"}};
  struct statfs status = {};
  if (::statfs(path.c_str(), &status) != 0) return "unknown";
  const auto found = kNames.find(static_cast<std::int64_t>(status.f_type));
  return found == kNames.end() ? "other" : found->second;
}

FieldCost cost_of(const Dataset& dataset, const std::string& field) {
  const auto shard = dataset.shard(0);
  const Shard::Layout& layout = shard->layout(field);
  const double bytes = static_cast<double>(layout.num_values * size_bytes(layout.info.dtype)) /
                       static_cast<double>(std::max<std::int64_t>(layout.num_rows, 1));
  return {field, layout.description, layout.is_direct, bytes};
}

// Calls read(i) for i = 0, 1, ... until the time is up; how many a second.
template <typename Read>
double rate_of(double seconds, std::int64_t most, const Read& read) {
  const auto begin = Clock::now();
  std::int64_t count = 0;
  double passed = 0.0;
  while (count < most && passed < seconds) {
    read(count++);
    passed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  return static_cast<double>(count) / std::max(passed, 1e-9);
}

void read_sample(const Dataset& dataset, std::int64_t id, std::vector<std::uint8_t>& bytes) {
  const Dataset::Place place = dataset.locate(id);
  const auto shard = dataset.shard(place.shard);
  for (const auto& [field, info] : dataset.manifest().fields) {
    if (!info.is_aside) shard->read_row(field, place.row, bytes);
  }
}

// Asks the system to forget what it holds of the files; clean pages go at once.
void drop_pages(const Dataset& dataset) {
  for (const ShardInfo& shard : dataset.manifest().shards) {
    File::open_read(dataset.folder() / shard.file).forget_pages();
  }
}

double decode_rate(const std::filesystem::path& path, const FieldPaths& mapping, double seconds) {
  ImageOptions options;
  options.size = 224;
  options.crop = "random_resized";
  options.flip = true;
  const auto dataset = std::make_shared<const Dataset>(path, mapping);
  const auto source = make_image_source(dataset, options, 0);
  const SampleOrder order({dataset->num_samples(), dataset->shard_samples(), 16, true, 0});
  Batch batch = source->allocate(1);
  return rate_of(seconds, 20'000, [&](std::int64_t i) {
    const std::int64_t id = order.at(i);
    source->read({&id, 1}, i, batch, 0);
  });
}

std::string field_words(const FieldPaths& mapping) {
  std::string words;
  for (const auto& [field, place] : mapping) words += fmt::format(" --field {}={}", field, place);
  return words;
}

void advise(DoctorReport& report, const std::filesystem::path& path, const FieldPaths& mapping) {
  const std::string target = path.lexically_normal().string();
  for (const FieldCost& field : report.fields) {
    if (field.is_direct) continue;
    report.needs_repack = true;
    report.advice.push_back(fmt::format(
        "field '{}' is stored in {}: only one thread at a time can read it. Repacked it is "
        "contiguous",
        field.field, field.layout));
  }
  const double mean_bytes =
      static_cast<double>(report.num_bytes) / static_cast<double>(report.num_shards);
  if (report.num_shards > 64 && mean_bytes < 8e6) {
    report.needs_repack = true;
    report.advice.push_back(
        fmt::format("{} shards of {:.1f} MB each cost an opening per few samples. Repacked into "
                    "shards of 256 MB "
                    "they are read faster on any file system",
                    report.num_shards, mean_bytes / 1e6));
  }
  if (report.needs_repack) {
    report.advice.push_back(fmt::format("repack: kiln data import hdf5 {}{} --out NEW_FOLDER",
                                        target, field_words(mapping)));
  }
  if (report.decode_per_s > 0 && report.decode_per_s < 800) {
    report.advice.push_back(
        fmt::format("a thread decodes {:.0f} images a second: import the pictures again with "
                    "--max-side 384 if the "
                    "model sees 224 pixels",
                    report.decode_per_s));
  }
}

}  // namespace

DoctorReport examine_dataset(const std::filesystem::path& path, const FieldPaths& mapping,
                             double seconds) {
  const Dataset dataset(path, mapping);
  DoctorReport report;
  report.num_samples = dataset.num_samples();
  report.num_shards = dataset.num_shards();
  report.file_system = file_system_of(path);
  for (const ShardInfo& shard : dataset.manifest().shards) report.num_bytes += shard.file_bytes;
  for (const auto& [field, info] : dataset.manifest().fields) {
    report.fields.push_back(cost_of(dataset, field));
  }
  const SampleOrder order({report.num_samples, dataset.shard_samples(), 16, true, 0});
  std::vector<std::uint8_t> bytes;
  const auto read = [&](std::int64_t i) { read_sample(dataset, order.at(i), bytes); };
  drop_pages(dataset);
  report.cold_read_per_s =
      rate_of(seconds / 3, std::min<std::int64_t>(report.num_samples, 500), read);
  const std::int64_t warm = std::min<std::int64_t>(report.num_samples, 500);
  rate_of(seconds / 6, warm, read);
  report.read_per_s = rate_of(seconds / 6, 50'000, [&](std::int64_t i) { read(i % warm); });
  if (dataset.manifest().fields.contains("image")) {
    report.decode_per_s = decode_rate(path, mapping, seconds / 3);
  }
  advise(report, path, mapping);
  return report;
}

std::int64_t threads_needed(const DoctorReport& report, double samples_per_s) {
  const double rate = report.decode_per_s > 0 ? report.decode_per_s : report.read_per_s;
  return std::max<std::int64_t>(static_cast<std::int64_t>(std::ceil(samples_per_s / rate)), 1);
}

}  // namespace kiln
