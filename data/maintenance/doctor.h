#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/store/shard.h"

namespace kiln {

struct FieldCost {
  std::string field;
  std::string layout;      // "contiguous", "chunks of [100, 28, 28], filter deflate"
  bool is_direct = false;  // read with pread, by any number of threads
  double bytes_per_sample = 0.0;
};

/// What reading a dataset costs on this machine, measured on samples in shuffled order.
struct DoctorReport {
  std::int64_t num_samples = 0;
  std::int64_t num_shards = 0;
  std::int64_t num_bytes = 0;
  std::string file_system;  // "ext4", "nfs", "lustre", ...
  std::vector<FieldCost> fields;
  double read_per_s = 0.0;       // samples, one thread, pages in memory
  double cold_read_per_s = 0.0;  // samples, one thread, pages dropped before
  double decode_per_s = 0.0;     // images, one thread: read, decoded, cropped to 224; 0: not images
  bool needs_repack = false;
  std::vector<std::string> advice;  // sentences; empty: nothing to improve
};

/// mapping: for HDF5 files made by others. Takes about `seconds` at most.
DoctorReport examine_dataset(const std::filesystem::path& path, const FieldPaths& mapping = {},
                             double seconds = 3.0);

/// Reader threads that `samples_per_s` would keep busy, by the measured rates; at least 1.
std::int64_t threads_needed(const DoctorReport& report, double samples_per_s);

}  // namespace kiln
