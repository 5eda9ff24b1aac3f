#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cstring>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/checkpoint_reader.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr auto kLong = at::ScalarType::Long;

/// Sends `text` of rank `root` to all ranks.
std::string broadcast_text(Communicator& communicator, const std::string& text, int root) {
  at::Tensor length = at::zeros({1}, kLong);
  length.mutable_data_ptr<std::int64_t>()[0] = static_cast<std::int64_t>(text.size());
  communicator.broadcast(length, root).wait();
  const auto num_bytes = static_cast<std::size_t>(length.const_data_ptr<std::int64_t>()[0]);
  if (num_bytes == 0) return "";
  at::Tensor bytes = at::zeros({static_cast<std::int64_t>((num_bytes + 7) / 8)}, kLong);
  if (communicator.rank() == root) std::memcpy(bytes.mutable_data_ptr(), text.data(), num_bytes);
  communicator.broadcast(bytes, root).wait();
  return {static_cast<const char*>(bytes.const_data_ptr()), num_bytes};
}

/// What this rank found wrong with its share of a checkpoint; empty reason: nothing.
struct Inspection {
  std::optional<CheckpointReader> reader;
  std::string reason;
};

Inspection inspect(const fs::path& folder, int part, int parts) {
  try {
    Inspection inspection{CheckpointReader(folder), ""};
    inspection.reader->verify(part, parts);
    return inspection;
  } catch (const Error& error) {
    return {{}, error.what()};
  }
}

/// First 8 bytes of the hash of what this rank read; 0 stands for a fault.
std::int64_t fingerprint(const Inspection& inspection) {
  if (!inspection.reason.empty()) return 0;
  const std::string text = inspection.reader->manifest().to_text();
  const Digest digest = hash_bytes(text.data(), text.size());
  std::int64_t value = 0;
  std::memcpy(&value, digest.bytes.data(), sizeof value);
  return value | 1;
}

/// Why the checkpoint cannot be taken, the same text on all ranks; empty if it can.
std::string verdict_on_all_ranks(const Inspection& inspection, Communicator& communicator) {
  const int ranks = communicator.size();
  at::Tensor own = at::zeros({1}, kLong);
  own.mutable_data_ptr<std::int64_t>()[0] = fingerprint(inspection);
  at::Tensor all = at::zeros({ranks}, kLong);
  communicator.all_gather(own, all).wait();
  const auto* prints = all.const_data_ptr<std::int64_t>();
  for (int rank = 0; rank < ranks; ++rank)
    if (prints[rank] == 0) return broadcast_text(communicator, inspection.reason, rank);
  for (int rank = 1; rank < ranks; ++rank)
    if (prints[rank] != prints[0])
      return fmt::format(
          "rank {} sees another manifest than rank 0: the run folder must be the "
          "same, shared folder on every host",
          rank);
  return "";
}

std::vector<fs::path> folders_on_all_ranks(const fs::path& run_dir, Communicator& communicator,
                                           std::int64_t multiple_of) {
  std::string text;
  if (communicator.rank() == 0)
    for (const auto& folder : list_checkpoint_folders(run_dir))
      if (folder.step % multiple_of == 0) text += folder.path.filename().string() + '/';
  text = broadcast_text(communicator, text, 0);
  std::vector<fs::path> folders;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('/', begin);
    folders.push_back(checkpoints_folder(run_dir) / text.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

[[noreturn]] void refuse(const fs::path& run_dir, const std::vector<PassedOver>& passed_over) {
  std::string text;
  for (const auto& [folder, reason] : passed_over) text += "\n  " + reason;
  throw checkpoint_error(
      "none of the {} checkpoints of {} is valid:{}\nTo start the run over, move {} away.",
      passed_over.size(), run_dir.string(), text, checkpoints_folder(run_dir).string());
}

template <typename Verdict>
NewestCheckpoint find_newest(const fs::path& run_dir, const std::vector<fs::path>& folders,
                             int part, int parts, Verdict verdict) {
  NewestCheckpoint newest;
  for (const fs::path& folder : folders) {
    Inspection inspection = inspect(folder, part, parts);
    const std::string reason = verdict(inspection);
    if (reason.empty()) {
      newest.reader = std::move(inspection.reader);
      return newest;
    }
    newest.passed_over.push_back({folder, reason});
  }
  if (!folders.empty()) refuse(run_dir, newest.passed_over);
  return newest;
}

}  // namespace

NewestCheckpoint find_newest_checkpoint(const fs::path& run_dir, Communicator& communicator,
                                        std::int64_t multiple_of) {
  return find_newest(run_dir, folders_on_all_ranks(run_dir, communicator, multiple_of),
                     communicator.rank(), communicator.size(), [&](const Inspection& inspection) {
                       return verdict_on_all_ranks(inspection, communicator);
                     });
}

NewestCheckpoint find_newest_checkpoint(const fs::path& run_dir) {
  std::vector<fs::path> folders;
  for (const auto& folder : list_checkpoint_folders(run_dir)) folders.push_back(folder.path);
  return find_newest(run_dir, folders, 0, 1,
                     [](const Inspection& inspection) { return inspection.reason; });
}

CheckpointReader open_checkpoint(const fs::path& path) {
  if (!fs::is_directory(path)) throw checkpoint_error("there is no folder {}", path.string());
  if (fs::exists(path / kManifestName) || !fs::is_directory(checkpoints_folder(path))) {
    CheckpointReader reader(path);
    reader.verify();
    return reader;
  }
  NewestCheckpoint newest = find_newest_checkpoint(path);
  if (!newest.reader) throw checkpoint_error("{} holds no checkpoint yet", path.string());
  return std::move(*newest.reader);
}

}  // namespace kiln
