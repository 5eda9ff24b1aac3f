#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/hash.h"
#include "core/base/work.h"

namespace kiln {

/// Which rank-independent role a tensor has: part of weights_hash, part of the model, or neither.
enum class TensorKind { kWeight, kEma, kBuffer, kOptimizer };
std::string to_string(TensorKind kind);

/// manifest.json: what a checkpoint holds and the proof that its files are whole.
struct CheckpointManifest {
  static constexpr std::int64_t kFormat = 1;

  struct PieceOfFile {
    std::string file;  // name in the checkpoint's folder
    Range elements;    // of the tensor's row-major order
  };
  struct Tensor {
    TensorKind kind = TensorKind::kWeight;
    std::string dtype;  // as in safetensors
    std::vector<std::int64_t> shape;
    std::vector<PieceOfFile> pieces;  // ascending; together [0, numel)
    std::int64_t numel() const;
  };

  std::int64_t step = 0;
  std::int64_t samples_seen = 0;
  std::int64_t attempt = 0;
  std::int64_t ranks = 0;  // that wrote it; no reader needs it
  std::string recipe_hash;
  std::string dataset_fingerprint;
  std::map<std::string, std::string> identity;
  std::map<std::string, std::string> environment;
  std::map<std::string, std::int64_t> extra;
  std::map<std::string, Tensor> tensors;  // by global name
  std::map<std::string, FileHash> files;  // by name in the folder

  /// Adds the files and pieces of another rank. Throws Error(kCheckpoint) if the two disagree about
  /// a tensor.
  void merge(const CheckpointManifest& part);

  /// The exact bytes of the file. Its last member is a hash of all before it.
  std::string to_text() const;
  /// Throws Error(kCheckpoint) naming `origin` and fault when any byte differs from what to_text()
  /// gave, or the format is newer.
  static CheckpointManifest parse(std::string_view text, const std::string& origin);
  /// Throws Error(kCheckpoint) unless the pieces of every tensor cover it exactly once and lie in
  /// listed files.
  void check_coverage(const std::string& origin) const;
};

/// Name of a tensor's piece inside a file: "name", or "name@begin:end" when it is a part.
std::string piece_key(const std::string& name, Range elements, std::int64_t numel);

}  // namespace kiln
