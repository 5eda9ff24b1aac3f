#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint_manifest.h"
#include "core/checkpoint/safetensors.h"
#include "core/communicator.h"

namespace kiln {

/// One committed checkpoint. Opening reads its manifest and checks that every file is there with
/// its length; verify() reads all bytes. Any number of ranks reads what any number wrote: reads are
/// by global name and element range.
///
/// Thread safety: const members may be called from several threads.
class CheckpointReader {
 public:
  /// Throws Error(kCheckpoint) saying what is wrong with the folder.
  explicit CheckpointReader(const std::filesystem::path& folder);
  ~CheckpointReader();
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;

  const std::filesystem::path& folder() const { return folder_; }
  const CheckpointManifest& manifest() const { return manifest_; }
  std::int64_t step() const { return manifest_.step; }
  std::int64_t samples_seen() const { return manifest_.samples_seen; }
  bool contains(const std::string& name) const { return manifest_.tensors.count(name) > 0; }

  /// Elements of a tensor's row-major order, 1-D, in the stored type, on the host. Reads only those
  /// bytes. Throws Error(kCheckpoint) if there is no such tensor, range or the file has changed.
  at::Tensor read(const std::string& name, Range elements) const;
  /// The whole tensor in its shape.
  at::Tensor read(const std::string& name) const;

  /// Re-hashes the files whose index (sorted by name) falls to `part` of `parts`. Throws
  /// Error(kCheckpoint) naming the first that differs.
  void verify(int part = 0, int parts = 1) const;
  /// As the trainer computes it from memory (core/base/hash.h).
  std::string weights_hash() const;

 private:
  struct Files;
  const CheckpointManifest::Tensor& tensor(const std::string& name) const;
  const SafetensorsFile& file(const std::string& name) const;
  at::Tensor read_piece(const std::string& name, const CheckpointManifest::Tensor& tensor,
                        const CheckpointManifest::PieceOfFile& piece, Range elements) const;

  std::filesystem::path folder_;
  CheckpointManifest manifest_;
  std::unique_ptr<Files> files_;  // opened when first read
};

/// A checkpoint that looked like one and was not taken.
struct PassedOver {
  std::filesystem::path folder;
  std::string reason;
};

struct NewestCheckpoint {
  std::optional<CheckpointReader> reader;  // empty: the run has none, start from step 0
  std::vector<PassedOver> passed_over;     // newer than the one taken; log a line for each
};

/// The newest checkpoint of RUN that is valid to its last byte. All ranks call it together, with a
/// communicator of host tensors, and get the same answer; each hashes its share of the files.
/// Throws Error(kCheckpoint) when there are checkpoints but no valid one, so that no run starts
/// over unnoticed. Looks only at steps that `multiple_of` divides.
NewestCheckpoint find_newest_checkpoint(const std::filesystem::path& run_dir,
                                        Communicator& communicator, std::int64_t multiple_of = 1);
/// The same for one process.
NewestCheckpoint find_newest_checkpoint(const std::filesystem::path& run_dir);

/// Opens PATH for reading: a checkpoint's folder, or a run's (its newest valid one). Verified.
CheckpointReader open_checkpoint(const std::filesystem::path& path);

inline constexpr const char* kManifestName = "manifest.json";

/// Throws Error(kCheckpoint) unless every file of the manifest is in the folder with its length.
void check_files(const std::filesystem::path& folder, const CheckpointManifest& manifest);
/// Whether CheckpointReader would open it.
bool is_readable(const std::filesystem::path& folder);

struct CheckpointFolder {
  std::int64_t step = 0;
  std::filesystem::path path;
};
/// Folders that may hold a checkpoint, newest first: step-N, and after it step-N.replaced, which a
/// crash can leave while step-N is being written once more.
std::vector<CheckpointFolder> list_checkpoint_folders(const std::filesystem::path& run_dir);

}  // namespace kiln
