#include "data/maintenance/verify.h"

#include <mutex>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/parallel.h"
#include "data/store/files.h"
#include "data/store/shard.h"

namespace kiln {
namespace {

// Called for a file whose hash is wrong: which of its fields differ?
std::vector<DatasetFault> find_faults(const std::filesystem::path& path, const Manifest& manifest,
                                      const ShardInfo& expected) {
  std::vector<DatasetFault> faults;
  for (const auto& [field, info] : manifest.fields) {
    try {
      const Shard shard(path, {{field, info}});
      const std::string found = shard.hash(field);
      if (found != expected.hashes.at(field)) {
        faults.push_back({expected.file, field,
                          fmt::format("its bytes changed: xxh3-128 is {}, dataset.json says {}",
                                      found, expected.hashes.at(field))});
      }
    } catch (const Error& error) {
      faults.push_back({expected.file, field, error.what()});
    }
  }
  if (faults.empty()) {
    faults.push_back(
        {expected.file, "", "bytes outside the fields changed (the file's own structure)"});
  }
  return faults;
}

std::vector<DatasetFault> check_shard(const std::filesystem::path& folder, const Manifest& manifest,
                                      const ShardInfo& expected) {
  const auto path = folder / expected.file;
  try {
    const File file = File::open_read(path);
    if (hash_file(path, ExitCode::kData).xxh3 == expected.file_hash) return {};
    std::vector<DatasetFault> faults = find_faults(path, manifest, expected);
    if (file.size_bytes() != expected.file_bytes) {
      faults.push_back({expected.file, "",
                        fmt::format("it has {} bytes, dataset.json says {}", file.size_bytes(),
                                    expected.file_bytes)});
    }
    return faults;
  } catch (const Error& error) {
    return {{expected.file, "", error.what()}};
  }
}

}  // namespace

VerifyReport verify_dataset(const std::filesystem::path& folder, std::int64_t num_threads,
                            const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const Manifest manifest = read_manifest(folder);
  VerifyReport report;
  report.num_shards = std::ssize(manifest.shards);
  std::int64_t total_bytes = 0;
  for (const ShardInfo& shard : manifest.shards) total_bytes += shard.file_bytes;
  std::vector<std::vector<DatasetFault>> faults(manifest.shards.size());
  std::mutex mutex;
  parallel_for(report.num_shards, 1, num_threads, [&](Range range) {
    const auto index = static_cast<std::size_t>(range.begin);
    faults[index] = check_shard(folder, manifest, manifest.shards[index]);
    const std::lock_guard lock(mutex);
    report.num_bytes += manifest.shards[index].file_bytes;
    if (progress) progress(report.num_bytes, total_bytes);
  });
  for (const auto& of_shard : faults) {
    report.faults.insert(report.faults.end(), of_shard.begin(), of_shard.end());
  }
  return report;
}

}  // namespace kiln
