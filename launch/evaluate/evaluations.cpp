#include "launch/evaluate/evaluations.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "launch/evaluate/features.h"
#include "models/capabilities.h"
#include "models/measures/knn.h"
#include "models/measures/linear_probe.h"

namespace kiln {

namespace {

struct TrainAndTest {
  LabelledFeatures train;
  LabelledFeatures test;
  std::int64_t num_classes = 0;
};

TrainAndTest extract_both(const Evaluated& evaluated) {
  if (!evaluated.train_data) {
    throw usage_error("eval.train_path is missing: the labelled dataset to learn from");
  }
  const EvalOptions& options = evaluated.recipe.eval;
  const auto extract = [&](const OpenedData& data, std::int64_t max_samples) {
    return extract_features(evaluated.objective, data, max_samples, options.pool,
                            evaluated.communicator, evaluated.device, evaluated.num_threads,
                            evaluated.should_stop);
  };
  TrainAndTest both{extract(*evaluated.train_data, options.train_samples),
                    extract(evaluated.data, options.max_samples)};
  both.num_classes = std::max(both.train.labels.max().item<std::int64_t>(),
                              both.test.labels.max().item<std::int64_t>()) +
                     1;
  return both;
}

}  // namespace

std::int64_t first_samples(std::int64_t all, std::int64_t most) {
  return most > 0 ? std::min(most, all) : all;
}

std::int64_t evaluated_samples(const Evaluated& evaluated) {
  return first_samples(evaluated.data.source->num_samples(), evaluated.recipe.eval.max_samples);
}

Figures evaluate_knn(const Evaluated& evaluated) {
  const TrainAndTest both = extract_both(evaluated);
  const EvalOptions& options = evaluated.recipe.eval;
  const std::int64_t count = both.test.labels.size(0);
  const Range share = share_of(count, evaluated.communicator.rank(), evaluated.communicator.size());
  at::Tensor predicted = at::zeros({count}, at::kLong);
  if (share.size() > 0) {
    predicted.slice(0, share.begin, share.end)
        .copy_(knn_predict(both.train, both.test.features.slice(0, share.begin, share.end),
                           both.num_classes, {options.k, options.temperature}));
  }
  evaluated.communicator.all_reduce(predicted).wait();
  return {{"accuracy", accuracy(predicted, both.test.labels)},
          {"k", static_cast<double>(options.k)},
          {"samples", static_cast<double>(count)},
          {"train_samples", static_cast<double>(both.train.labels.size(0))}};
}

Figures evaluate_linear(const Evaluated& evaluated) {
  const TrainAndTest both = extract_both(evaluated);
  const LinearProbe probe = LinearProbe::fit(both.train, both.num_classes);
  return {{"accuracy", accuracy(probe.predict(both.test.features), both.test.labels)},
          {"train_accuracy", accuracy(probe.predict(both.train.features), both.train.labels)},
          {"samples", static_cast<double>(both.test.labels.size(0))},
          {"train_samples", static_cast<double>(both.train.labels.size(0))}};
}

Figures evaluate_classifier(const Evaluated& evaluated) {
  auto* classifier = dynamic_cast<Classifier*>(&evaluated.objective);
  if (!classifier) throw usage_error("this model does not classify");
  const std::int64_t count = evaluated_samples(evaluated);
  at::Tensor num_right = at::zeros({1}, at::kLong);
  for_each_share(*evaluated.data.source, count, evaluated.communicator, evaluated.device,
                 evaluated.num_threads, [&](Batch& batch, Range range) {
                   const at::Tensor predicted = classifier->scores(batch).argmax(1);
                   const at::Tensor is_right = predicted == batch.at("label");
                   num_right += is_right.narrow(0, 0, range.size()).sum().cpu();
                 });
  evaluated.communicator.all_reduce(num_right).wait();
  return {{"accuracy", num_right.item<double>() / static_cast<double>(count)},
          {"samples", static_cast<double>(count)}};
}

}  // namespace kiln
