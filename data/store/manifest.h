#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/store/dtype.h"

namespace kiln {

/// One named array of a dataset: a row per sample.
struct FieldInfo {
  DType dtype = DType::kUInt8;
  std::vector<std::int64_t> shape;  // of one row; empty: a scalar. Unused for ragged fields
  bool is_ragged = false;           // rows of any length, stored one after the other with offsets
  bool is_aside = false;            // has a number of rows of its own (an index, a table)
  std::string encoding = "raw";     // raw | image (each row a JPEG or PNG file)

  std::int64_t row_values() const;  // product of shape
  std::int64_t row_bytes() const { return row_values() * size_bytes(dtype); }
  friend bool operator==(const FieldInfo&, const FieldInfo&) = default;
};
using Fields = std::map<std::string, FieldInfo>;

struct ShardInfo {
  std::string file;  // relative to the dataset's folder
  std::int64_t num_samples = 0;
  std::int64_t file_bytes = 0;
  std::map<std::string, std::int64_t> rows;   // per field
  std::map<std::string, std::string> hashes;  // per field: xxh3-128 of data, then offsets
  std::string file_hash;                      // xxh3-128 of the whole file
};

/// Contents of dataset.json.
struct Manifest {
  static constexpr int kFormat = 1;

  std::string kind;  // "image", "text", "pairs", "latent"
  std::int64_t num_samples = 0;
  Fields fields;
  std::vector<ShardInfo> shards;
  std::vector<std::string> class_names;  // empty: no labels
  std::vector<double> mean, std;         // per channel of values in [0, 1]; empty: not known
  /// Further facts a kind of data has, e.g. "vocab_size", "tokenizer_hash", "scale_factor".
  std::map<std::string, std::string> attributes;
  std::map<std::string, std::string> provenance;  // where it came from, made by what

  /// xxh3-128 over fields and every shard's counts and hashes: equal for equal contents.
  std::string fingerprint() const;
};

/// Throws Error(kData) that names the file and what is wrong with it.
Manifest read_manifest(const std::filesystem::path& folder);
/// Atomic: the file appears complete (fsync, rename) or not at all. Sums up num_samples itself.
void write_manifest(const std::filesystem::path& folder, Manifest manifest);

}  // namespace kiln
