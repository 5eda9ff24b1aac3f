#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint_reader.h"

// What `kiln checkpoint list|verify|inspect|diff|hash` answers. PATH is a run's folder or that of
// one checkpoint. to_json() gives the object that --json prints.

namespace kiln {

struct CheckpointSummary {
  std::filesystem::path folder;
  std::int64_t step = 0;
  std::int64_t samples_seen = 0;
  std::int64_t attempt = 0;
  std::int64_t ranks = 0;
  std::uint64_t num_bytes = 0;
  std::string problem;  // empty: nothing found; the other numbers are 0 where it hides them
};

/// All checkpoints of PATH, newest first: manifest and file lengths are looked at, no data.
std::vector<CheckpointSummary> list_checkpoints(const std::filesystem::path& path);
/// The same, with every byte read and compared with its hash.
std::vector<CheckpointSummary> verify_checkpoints(const std::filesystem::path& path);

struct TensorSummary {
  std::string name;
  CheckpointManifest::Tensor stored;
  std::int64_t num_not_finite = 0;
  double min = 0.0, max = 0.0, mean = 0.0, rms = 0.0;  // of the finite elements
};
struct CheckpointInspection {
  CheckpointSummary summary;
  CheckpointManifest manifest;
  std::string weights_hash;
  std::vector<TensorSummary> tensors;
};
/// PATH's checkpoint (a run's newest valid one), with the statistics of every tensor.
CheckpointInspection inspect_checkpoint(const std::filesystem::path& path);

/// How two checkpoints differ in one tensor or one manifest key.
struct Difference {
  std::string name;
  std::string what;  // "only in the first", "shape [2, 3] and [3, 2]", "12 of 35 elements" ...
  std::int64_t num_elements = 0;  // that differ in any bit
  double max_abs = 0.0;
};
struct CheckpointDiff {
  std::vector<Difference> keys;     // step, recipe, dataset, environment ...
  std::vector<Difference> tensors;  // empty: bit for bit the same state
};
CheckpointDiff diff_checkpoints(const std::filesystem::path& first,
                                const std::filesystem::path& second);

struct CheckpointHash {
  std::filesystem::path folder;
  std::int64_t step = 0;
  std::string weights_hash;
};
CheckpointHash hash_checkpoint(const std::filesystem::path& path);

nlohmann::json to_json(const std::vector<CheckpointSummary>& summaries);
nlohmann::json to_json(const CheckpointInspection& inspection);
nlohmann::json to_json(const CheckpointDiff& diff);
nlohmann::json to_json(const CheckpointHash& hash);

}  // namespace kiln
