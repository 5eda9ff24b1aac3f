#include "core/checkpoint/checkpoint_tools.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChunk = 1 << 20;

/// Calls visit(elements) for the tensor's elements in chunks that fit in a cache.
template <typename Visit>
void for_each_chunk(std::int64_t numel, Visit visit) {
  for (std::int64_t begin = 0; begin < numel; begin += kChunk)
    visit(Range{begin, std::min(begin + kChunk, numel)});
}

CheckpointSummary summarize(const CheckpointReader& reader) {
  const CheckpointManifest& manifest = reader.manifest();
  CheckpointSummary summary{reader.folder(),
                            manifest.step,
                            manifest.samples_seen,
                            manifest.attempt,
                            manifest.ranks,
                            0,
                            ""};
  for (const auto& [name, file] : manifest.files) summary.num_bytes += file.num_bytes;
  return summary;
}

std::vector<CheckpointFolder> folders_of(const fs::path& path) {
  if (!fs::is_directory(path)) throw checkpoint_error("there is no folder {}", path.string());
  if (fs::is_directory(checkpoints_folder(path))) return list_checkpoint_folders(path);
  return {{0, path}};
}

std::vector<CheckpointSummary> look_at(const fs::path& path, bool verifies) {
  std::vector<CheckpointSummary> summaries;
  for (const auto& [step, folder] : folders_of(path)) {
    CheckpointSummary summary{folder, step, 0, 0, 0, 0, ""};
    try {
      const CheckpointReader reader(folder);
      summary = summarize(reader);
      if (verifies) reader.verify();
    } catch (const Error& error) {
      summary.problem = error.what();
    }
    summaries.push_back(std::move(summary));
  }
  return summaries;
}

TensorSummary summarize(const CheckpointReader& reader, const std::string& name,
                        const CheckpointManifest::Tensor& stored) {
  TensorSummary summary;
  summary.name = name;
  summary.stored = stored;
  double sum = 0.0, sum_of_squares = 0.0;
  std::int64_t count = 0;
  for_each_chunk(stored.numel(), [&](Range chunk) {
    const at::Tensor values = reader.read(name, chunk).to(at::ScalarType::Double);
    const double* value = values.const_data_ptr<double>();
    for (const double* end = value + chunk.size(); value != end; ++value) {
      if (!std::isfinite(*value)) {
        ++summary.num_not_finite;
        continue;
      }
      summary.min = count == 0 ? *value : std::min(summary.min, *value);
      summary.max = count == 0 ? *value : std::max(summary.max, *value);
      sum += *value;
      sum_of_squares += *value * *value;
      ++count;
    }
  });
  if (count > 0) {
    summary.mean = sum / static_cast<double>(count);
    summary.rms = std::sqrt(sum_of_squares / static_cast<double>(count));
  }
  return summary;
}

std::string list_of(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Elements whose bytes differ, and by how much at most.
Difference compare_values(const CheckpointReader& first, const CheckpointReader& second,
                          const std::string& name, std::int64_t numel) {
  Difference difference{name, "", 0, 0.0};
  for_each_chunk(numel, [&](Range chunk) {
    const at::Tensor a = first.read(name, chunk), b = second.read(name, chunk);
    if (std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0) return;
    const at::Tensor x = a.to(at::ScalarType::Double), y = b.to(at::ScalarType::Double);
    const auto* bytes_a = static_cast<const char*>(a.const_data_ptr());
    const auto* bytes_b = static_cast<const char*>(b.const_data_ptr());
    const auto item_bytes = static_cast<std::int64_t>(a.element_size());
    for (std::int64_t i = 0; i < chunk.size(); ++i) {
      if (std::memcmp(bytes_a + i * item_bytes, bytes_b + i * item_bytes,
                      static_cast<std::size_t>(item_bytes)) == 0)
        continue;
      ++difference.num_elements;
      const double gap = std::abs(x.const_data_ptr<double>()[i] - y.const_data_ptr<double>()[i]);
      difference.max_abs = std::max(difference.max_abs, gap);
    }
  });
  difference.what = fmt::format("{} of {} elements", difference.num_elements, numel);
  return difference;
}

/// A difference with an empty `what`: there is none.
Difference compare_tensor(const CheckpointReader& first, const CheckpointReader& second,
                          const std::string& name) {
  if (!second.contains(name)) return {name, "only in the first", 0, 0.0};
  if (!first.contains(name)) return {name, "only in the second", 0, 0.0};
  const auto& a = first.manifest().tensors.at(name);
  const auto& b = second.manifest().tensors.at(name);
  if (a.shape != b.shape)
    return {name, fmt::format("shape {} and {}", list_of(a.shape), list_of(b.shape)), 0, 0.0};
  if (a.dtype != b.dtype) return {name, fmt::format("type {} and {}", a.dtype, b.dtype), 0, 0.0};
  Difference difference = compare_values(first, second, name, a.numel());
  if (difference.num_elements == 0) difference.what.clear();
  return difference;
}

/// Everything of a manifest that says which state this is, as key -> text.
std::map<std::string, std::string> keys_of(const CheckpointManifest& manifest) {
  std::map<std::string, std::string> keys = {
      {"step", fmt::to_string(manifest.step)},
      {"samples_seen", fmt::to_string(manifest.samples_seen)},
      {"recipe_hash", manifest.recipe_hash},
      {"dataset_fingerprint", manifest.dataset_fingerprint}};
  for (const auto& [key, value] : manifest.identity) keys["recipe " + key] = value;
  for (const auto& [key, value] : manifest.environment) keys["environment " + key] = value;
  for (const auto& [key, value] : manifest.extra) keys["extra " + key] = fmt::to_string(value);
  return keys;
}

std::vector<Difference> compare_keys(const CheckpointManifest& first,
                                     const CheckpointManifest& second) {
  const auto a = keys_of(first), b = keys_of(second);
  std::map<std::string, std::string> all = a;
  all.insert(b.begin(), b.end());
  std::vector<Difference> differences;
  for (const auto& [key, unused] : all) {
    const auto in_a = a.find(key), in_b = b.find(key);
    if (in_b == b.end())
      differences.push_back({key, "only in the first", 0, 0.0});
    else if (in_a == a.end())
      differences.push_back({key, "only in the second", 0, 0.0});
    else if (in_a->second != in_b->second)
      differences.push_back({key, fmt::format("{} and {}", in_a->second, in_b->second), 0, 0.0});
  }
  return differences;
}

}  // namespace

std::vector<CheckpointSummary> list_checkpoints(const fs::path& path) {
  return look_at(path, /*verifies=*/false);
}

std::vector<CheckpointSummary> verify_checkpoints(const fs::path& path) {
  return look_at(path, /*verifies=*/true);
}

CheckpointInspection inspect_checkpoint(const fs::path& path) {
  const CheckpointReader reader = open_checkpoint(path);
  CheckpointInspection inspection{summarize(reader), reader.manifest(), reader.weights_hash(), {}};
  for (const auto& [name, stored] : reader.manifest().tensors)
    inspection.tensors.push_back(summarize(reader, name, stored));
  return inspection;
}

CheckpointDiff diff_checkpoints(const fs::path& first_path, const fs::path& second_path) {
  const CheckpointReader first = open_checkpoint(first_path), second = open_checkpoint(second_path);
  CheckpointDiff diff{compare_keys(first.manifest(), second.manifest()), {}};
  auto all = first.manifest().tensors;
  all.insert(second.manifest().tensors.begin(), second.manifest().tensors.end());
  for (const auto& [name, unused] : all) {
    Difference difference = compare_tensor(first, second, name);
    if (!difference.what.empty()) diff.tensors.push_back(std::move(difference));
  }
  return diff;
}

CheckpointHash hash_checkpoint(const fs::path& path) {
  const CheckpointReader reader = open_checkpoint(path);
  return {reader.folder(), reader.step(), reader.weights_hash()};
}

}  // namespace kiln
