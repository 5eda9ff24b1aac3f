#include "core/checkpoint/checkpoint_reader.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <mutex>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint.h"

namespace kiln {

namespace fs = std::filesystem;

struct CheckpointReader::Files {
  std::mutex mutex;
  std::map<std::string, SafetensorsFile> open;
};

void check_files(const fs::path& folder, const CheckpointManifest& manifest) {
  for (const auto& [name, expected] : manifest.files) {
    const std::uint64_t num_bytes = InputFile(folder / name).size();
    if (num_bytes != expected.num_bytes)
      throw checkpoint_error("{} has {} bytes, {} were written", (folder / name).string(),
                             num_bytes, expected.num_bytes);
  }
}

CheckpointReader::CheckpointReader(const fs::path& folder)
    : folder_(folder), files_(std::make_unique<Files>()) {
  const fs::path path = folder / kManifestName;
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw checkpoint_error("{} has no {}: it is not a finished checkpoint", folder.string(),
                           kManifestName);
  manifest_ = CheckpointManifest::parse(read_text_file(path), path.string());
  manifest_.check_coverage(path.string());
  check_files(folder, manifest_);
}

CheckpointReader::~CheckpointReader() = default;
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;

const CheckpointManifest::Tensor& CheckpointReader::tensor(const std::string& name) const {
  const auto found = manifest_.tensors.find(name);
  if (found == manifest_.tensors.end())
    throw checkpoint_error("{} has no tensor '{}'", folder_.string(), name);
  return found->second;
}

const SafetensorsFile& CheckpointReader::file(const std::string& name) const {
  const std::lock_guard lock(files_->mutex);
  const auto found = files_->open.find(name);
  if (found != files_->open.end()) return found->second;
  return files_->open.emplace(name, SafetensorsFile(folder_ / name)).first->second;
}

at::Tensor CheckpointReader::read_piece(const std::string& name,
                                        const CheckpointManifest::Tensor& tensor,
                                        const CheckpointManifest::PieceOfFile& piece,
                                        Range elements) const {
  const SafetensorsFile& source = file(piece.file);
  const std::string key = piece_key(name, piece.elements, tensor.numel());
  const auto entry = source.entries().find(key);
  if (entry == source.entries().end() || entry->second.dtype != tensor.dtype ||
      entry->second.numel != piece.elements.size())
    throw checkpoint_error("{} lacks '{}' as the manifest describes it",
                           (folder_ / piece.file).string(), key);
  return source.read(key,
                     {elements.begin - piece.elements.begin, elements.end - piece.elements.begin});
}

at::Tensor CheckpointReader::read(const std::string& name, Range elements) const {
  const CheckpointManifest::Tensor& found = tensor(name);
  if (elements.begin < 0 || elements.begin > elements.end || elements.end > found.numel())
    throw checkpoint_error("{}: '{}' has {} elements, {} to {} were asked for", folder_.string(),
                           name, found.numel(), elements.begin, elements.end);
  at::Tensor result =
      at::empty({elements.size()}, at::TensorOptions().dtype(scalar_type_of(found.dtype)));
  for (const auto& piece : found.pieces) {
    const Range common{std::max(elements.begin, piece.elements.begin),
                       std::min(elements.end, piece.elements.end)};
    if (common.begin >= common.end) continue;
    const at::Tensor part = read_piece(name, found, piece, common);
    if (common == elements) return part;
    result.narrow(0, common.begin - elements.begin, common.size()).copy_(part);
  }
  return result;
}

at::Tensor CheckpointReader::read(const std::string& name) const {
  const CheckpointManifest::Tensor& found = tensor(name);
  return read(name, {0, found.numel()}).view(found.shape);
}

void CheckpointReader::verify(int part, int parts) const {
  int index = 0;
  for (const auto& [name, expected] : manifest_.files) {
    if (index++ % parts != part) continue;
    if (hash_file(folder_ / name) != expected)
      throw checkpoint_error("{} is damaged: its bytes do not match the hash in the manifest",
                             (folder_ / name).string());
  }
}

std::string CheckpointReader::weights_hash() const {
  constexpr std::int64_t kChunk = 1 << 22;
  std::map<std::string, Digest> digests;
  for (const auto& [name, found] : manifest_.tensors) {
    if (found.kind != TensorKind::kWeight) continue;
    Xxh3Stream stream;
    for (std::int64_t begin = 0; begin < found.numel(); begin += kChunk) {
      const at::Tensor chunk = read(name, {begin, std::min(begin + kChunk, found.numel())});
      stream.update(chunk.const_data_ptr(), chunk.nbytes());
    }
    digests.emplace(name, stream.digest());
  }
  return kiln::weights_hash(digests);
}

bool is_readable(const fs::path& folder) {
  try {
    const CheckpointReader reader(folder);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<CheckpointFolder> list_checkpoint_folders(const fs::path& run_dir) {
  std::vector<CheckpointFolder> folders;
  std::error_code error;
  for (const auto& found : fs::directory_iterator(checkpoints_folder(run_dir), error)) {
    const std::string name = found.path().filename().string();
    if (name.rfind("step-", 0) != 0) continue;
    std::int64_t step = 0;
    const auto [end, fault] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
    const std::string rest(end, name.data() + name.size());
    if (fault == std::errc() && step >= 0 && (rest.empty() || rest == ".replaced"))
      folders.push_back({step, found.path()});
  }
  std::sort(folders.begin(), folders.end(), [](const auto& a, const auto& b) {
    return a.step != b.step ? a.step > b.step : a.path < b.path;
  });
  return folders;
}

}  // namespace kiln
