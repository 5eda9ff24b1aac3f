#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/base/work.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/checkpoint_reader.h"
#include "tests/support/faulty_file_system.h"

namespace kiln {

/// A small model's state whose every value tells its tensor, element and step.
struct SampleTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  at::ScalarType type = at::kFloat;
  bool is_optimizer = false;

  at::Tensor at_step(std::int64_t step) const {
    std::int64_t numel = 1;
    for (const std::int64_t size : shape) numel *= size;
    const auto salt = static_cast<std::int64_t>(name.size()) * 100 + step * 3000;
    return at::arange(salt, salt + numel, type).view(shape);
  }
};

inline const std::vector<SampleTensor>& sample_tensors() {
  static const std::vector<SampleTensor> tensors = {
      {"encoder.weight", {5, 7}},
      {"encoder.bias", {7}},
      {"scale", {}},
      {"none", {0, 3}},
      {"ema/encoder.weight", {5, 7}},
      {"buffer/count", {2, 2}, at::kLong},
      {"exp_avg/encoder.weight", {5, 7}, at::kFloat, true},
      {"exp_avg_sq/encoder.bias", {7}, at::kDouble, true},
  };
  return tensors;
}

/// Part `rank` of `ranks` of the whole state: tensors laid end to end and cut into equal slices.
inline CheckpointState sample_state(std::int64_t step, int rank = 0, int ranks = 1) {
  CheckpointState state;
  state.step = step;
  state.samples_seen = step * 64;
  state.identity = {{"model.name", "\"mae\""}, {"run.seed", "0"}};
  state.environment = {{"threads", "1"}};
  state.recipe_hash = "r";
  state.dataset_fingerprint = "d";
  state.extra = {{"ema_updates", step}};
  std::int64_t total = 0;
  for (const auto& tensor : sample_tensors()) total += tensor.at_step(0).numel();
  const Range share = share_of(total, rank, ranks);
  std::int64_t offset = 0;
  for (const auto& tensor : sample_tensors()) {
    const at::Tensor flat = tensor.at_step(step).reshape({-1});
    const Range part{std::clamp<std::int64_t>(share.begin - offset, 0, flat.numel()),
                     std::clamp<std::int64_t>(share.end - offset, 0, flat.numel())};
    offset += flat.numel();
    if (part.size() == 0 && (flat.numel() > 0 || rank > 0)) continue;
    auto& pieces = tensor.is_optimizer ? state.optimizer : state.weights;
    pieces.push_back({tensor.name, tensor.shape, part, flat.narrow(0, part.begin, part.size())});
  }
  return state;
}

inline CheckpointWriter::Options writer_options(const std::filesystem::path& run_dir, int rank = 0,
                                                int ranks = 1) {
  CheckpointWriter::Options options;
  options.run_dir = run_dir;
  options.rank = rank;
  options.ranks = ranks;
  options.attempt = 1;
  options.async = false;
  return options;
}

/// The ranks of a job, as far as saving goes: the vote of the loop is a plain sum here.
class Savers {
 public:
  Savers(CheckpointWriter::Options options, int ranks, FileSystem& files = posix_file_system()) {
    options.ranks = ranks;
    for (options.rank = 0; options.rank < ranks; ++options.rank)
      writers_.push_back(std::make_unique<CheckpointWriter>(options, files));
  }
  /// Returns whether all ranks voted durable; the commit may still fail: see failure().
  bool save(std::int64_t step) {
    const int ranks = static_cast<int>(writers_.size());
    for (int rank = 0; rank < ranks; ++rank)
      writers_[static_cast<std::size_t>(rank)]->begin(sample_state(step, rank, ranks));
    bool all_succeeded = true;
    for (auto& writer : writers_) {
      writer->wait();
      all_succeeded = all_succeeded && writer->has_succeeded();
    }
    for (auto& writer : writers_) all_succeeded ? writer->commit() : writer->abandon();
    for (auto& writer : writers_) writer->wait();
    return all_succeeded;
  }
  std::string failure() const {
    for (const auto& writer : writers_)
      if (!writer->failure().empty()) return writer->failure();
    return "";
  }

 private:
  std::vector<std::unique_ptr<CheckpointWriter>> writers_;
};

inline void save_steps(const std::filesystem::path& run_dir, std::vector<std::int64_t> steps,
                       int ranks = 1) {
  FaultyFileSystem files;  // for it flushes nothing: an fsync takes longer than all the rest
  Savers savers(writer_options(run_dir), ranks, files);
  for (const std::int64_t step : steps) ASSERT_TRUE(savers.save(step)) << savers.failure();
}

/// Every tensor of the checkpoint is that of its step, to the last bit.
inline void expect_sample_state(const CheckpointReader& reader) {
  EXPECT_EQ(reader.samples_seen(), reader.step() * 64);
  EXPECT_EQ(reader.manifest().extra.at("ema_updates"), reader.step());
  EXPECT_EQ(reader.manifest().tensors.size(), sample_tensors().size());
  for (const auto& tensor : sample_tensors()) {
    const at::Tensor stored = reader.read(tensor.name);
    EXPECT_EQ(stored.scalar_type(), tensor.type);
    EXPECT_TRUE(at::equal(stored, tensor.at_step(reader.step()))) << tensor.name;
  }
}

}  // namespace kiln
