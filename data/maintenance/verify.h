#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace kiln {

struct DatasetFault {
  std::string shard;
  std::string field;  // empty: the file as such
  std::string what;
};

struct VerifyReport {
  std::int64_t num_shards = 0;
  std::int64_t num_bytes = 0;
  std::vector<DatasetFault> faults;  // empty: every byte is as written
};

/// Reads every shard of a dataset and compares its hash with dataset.json; where one differs, the
/// fields are hashed to say which. progress(bytes done, bytes in all) is called by one thread at a
/// time.
VerifyReport verify_dataset(const std::filesystem::path& folder, std::int64_t num_threads,
                            const std::function<void(std::int64_t, std::int64_t)>& progress = {});

}  // namespace kiln
