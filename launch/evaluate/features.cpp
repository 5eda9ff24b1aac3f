#include "launch/evaluate/features.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "data/loader.h"
#include "launch/evaluate/evaluations.h"
#include "models/capabilities.h"

namespace kiln {

namespace {

constexpr std::int64_t kMicroBatch = 64;

at::Tensor filled_up(const at::Tensor& rows, std::int64_t size) {
  if (rows.size(0) == size) return rows;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(rows.dim()), 1);
  shape[0] = size - rows.size(0);
  return at::cat({rows, rows.slice(0, rows.size(0) - 1).repeat(shape)});
}

}  // namespace

std::int64_t num_micro_batches(std::int64_t count) {
  return (count + kMicroBatch - 1) / kMicroBatch;
}

void for_each_share(const BatchSource& source, std::int64_t count, Communicator& communicator,
                    at::Device device, std::int64_t num_threads,
                    const std::function<void(Batch&, Range)>& use,
                    const std::function<bool()>& should_stop) {
  // The reader borrows the source for the time of this call.
  const DatasetReader reader({std::shared_ptr<const void>(), &source}, num_threads);
  const std::int64_t num_batches = num_micro_batches(count);
  const std::int64_t largest_share = (num_batches + communicator.size() - 1) / communicator.size();
  const Range share = share_of(num_batches, communicator.rank(), communicator.size());
  ProgressBar bar("evaluate", "batches", share.size());
  for (std::int64_t number = share.begin; number < share.begin + largest_share; ++number) {
    if (should_stop && should_stop()) throw EvaluationStopped();
    if (number >= share.end) continue;
    const Range range{number * kMicroBatch, std::min(count, (number + 1) * kMicroBatch)};
    Batch batch = reader.read(range.begin, range.end);
    batch.micro_batch = number;
    batch.first_position = range.begin;
    batch.num_samples = kMicroBatch;
    for (auto& [name, tensor] : batch.tensors) {
      tensor = filled_up(tensor, kMicroBatch).to(device);
    }
    use(batch, range);
    bar.update(number + 1 - share.begin);
  }
}

LabelledFeatures extract_features(Objective& objective, const OpenedData& data,
                                  std::int64_t max_samples, const std::string& pool,
                                  Communicator& communicator, at::Device device,
                                  std::int64_t num_threads,
                                  const std::function<bool()>& should_stop) {
  auto* extractor = dynamic_cast<FeatureExtractor*>(&objective);
  if (!extractor) throw usage_error("this model has no features to evaluate");
  const std::vector<std::string> poolings = extractor->poolings();
  const std::string& pooling = pool.empty() ? poolings.front() : pool;
  if (std::ranges::find(poolings, pooling) == poolings.end()) {
    throw usage_error("{}", unknown_name("eval.pool", pooling, poolings));
  }
  const std::int64_t count = first_samples(data.source->num_samples(), max_samples);
  LabelledFeatures result;
  // Each rank fills in its rows; adding up the others' zeros is exact.
  const auto fill_in = [&](Batch& batch, Range range) {
    if (!batch.tensors.contains("label")) {
      throw data_error("the dataset has no labels, which this evaluation needs");
    }
    const at::Tensor rows = extractor->features(batch, pooling).cpu();
    if (!result.features.defined()) {
      result.features = at::zeros({count, rows.size(1)});
      result.labels = at::zeros({count}, at::kLong);
    }
    const auto place = [&](const at::Tensor& to, const at::Tensor& from) {
      to.slice(0, range.begin, range.end).copy_(from.slice(0, 0, range.size()));
    };
    place(result.features, rows);
    place(result.labels, batch.at("label").cpu());
  };
  for_each_share(*data.source, count, communicator, device, num_threads, fill_in, should_stop);
  at::Tensor width = at::zeros({communicator.size()}, at::kLong);
  if (result.features.defined()) width[communicator.rank()] = result.features.size(1);
  communicator.all_reduce(width).wait();
  if (!result.features.defined()) {  // more ranks than micro-batches
    result.features = at::zeros({count, width.max().item<std::int64_t>()});
    result.labels = at::zeros({count}, at::kLong);
  }
  communicator.all_reduce(result.features).wait();
  communicator.all_reduce(result.labels).wait();
  return result;
}

}  // namespace kiln
