#include "launch/evaluate/measure.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/loader.h"
#include "launch/evaluate/features.h"

namespace kiln {
namespace {

constexpr std::int64_t kMostRowBytes = std::int64_t{64} << 20;

/// Sums of all micro-batches. Rows add up in order on every rank; where they would take too much
/// memory, each rank adds up its own first: sums as wide as that are counts and sums of integers.
class OrderedSums {
 public:
  OrderedSums(std::int64_t num_batches, std::int64_t width)
      : has_rows_(num_batches * width * std::int64_t{sizeof(double)} <= kMostRowBytes),
        sums_(at::zeros({has_rows_ ? num_batches : 1, width}, at::kDouble)) {}
  void add(std::int64_t micro_batch, const at::Tensor& row) {
    sums_[has_rows_ ? micro_batch : 0] += row;
  }
  at::Tensor total(Communicator& communicator) {
    communicator.all_reduce(sums_).wait();
    at::Tensor total = at::zeros({sums_.size(1)}, at::kDouble);
    for (std::int64_t i = 0; i < sums_.size(0); ++i) total += sums_[i];
    return total;
  }

 private:
  bool has_rows_;
  at::Tensor sums_;  // [num_batches or 1, width]
};

}  // namespace

SampleReader sample_reader(const BatchSource& data, std::int64_t num_threads) {
  // The reader borrows the source.
  const DatasetReader reader({std::shared_ptr<const void>(), &data}, num_threads);
  return {data.num_samples(), [reader](std::int64_t begin, std::int64_t end) {
            Batch batch = reader.read(begin, end);
            batch.first_position = begin;
            return batch;
          }};
}

MeasurementInput::MeasurementInput(const Evaluated& evaluated) {
  const EvalOptions& options = evaluated.recipe.eval;
  setup.data = sample_reader(*evaluated.data.source, evaluated.num_threads);
  setup.count = evaluated_samples(evaluated);
  if (evaluated.train_data != nullptr) {
    train_data = std::make_unique<SampleReader>(
        sample_reader(*evaluated.train_data->source, evaluated.num_threads));
    setup.train_data = train_data.get();
    setup.train_count = first_samples(train_data->num_samples, options.train_samples);
  }
  setup.seed = static_cast<std::uint64_t>(evaluated.recipe.run.seed);
  setup.device = evaluated.device;
}

Figures run_measurement(Measurement& measurement, const Evaluated& evaluated) {
  const std::int64_t count = evaluated_samples(evaluated);
  for (int pass = 0; pass < measurement.num_passes(); ++pass) {
    OrderedSums sums(num_micro_batches(count), measurement.num_sums(pass));
    for_each_share(*evaluated.data.source, count, evaluated.communicator, at::kCPU,
                   evaluated.num_threads, [&](Batch& batch, Range range) {
                     sums.add(batch.micro_batch, measurement.sums(pass, batch, range.size()));
                   });
    measurement.finish_pass(pass, sums.total(evaluated.communicator));
  }
  Figures figures = measurement.figures();
  figures["samples"] = static_cast<double>(count);
  return figures;
}

Figures evaluate_own(const Evaluated& evaluated, const std::string& name) {
  const MeasurementInput input(evaluated);
  auto* measurable = dynamic_cast<Measurable*>(&evaluated.objective);
  const auto measurement = measurable ? measurable->measurement(name, input.setup) : nullptr;
  if (!measurement) throw usage_error("this model has no evaluation '{}'", name);
  return run_measurement(*measurement, evaluated);
}

}  // namespace kiln
