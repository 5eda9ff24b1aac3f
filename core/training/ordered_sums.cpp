#include "core/training/ordered_sums.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/work.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kNamesLength = 4096;

int owner_of_first_micro_batch(std::int64_t num_micro_batches, int ranks) {
  int rank = 0;
  while (share_of(num_micro_batches, rank, ranks).size() == 0) ++rank;
  return rank;
}

Loss without_history(const Loss& loss) {
  Loss kept{loss.value.detach(), {}};
  for (const auto& [name, metric] : loss.metrics) {
    kept.metrics[name] = {metric.first.detach(), metric.second};
  }
  return kept;
}

}  // namespace

MetricTable::MetricTable(Communicator& communicator, std::int64_t num_micro_batches)
    : communicator_(communicator), num_micro_batches_(num_micro_batches) {}

void MetricTable::add(std::int64_t micro_batch, const Loss& loss) {
  losses_[micro_batch] = without_history(loss);
}

void MetricTable::set_whole(const Loss& loss) { whole_ = without_history(loss); }

void MetricTable::end_step() {
  std::vector<at::Tensor> values;
  const auto put = [&](const at::Tensor& scalar) {
    values.push_back(scalar.to(at::kDouble).reshape({1}));
  };
  const auto put_all = [&](const Loss& loss) {
    put(loss.value);
    for (const auto& [name, metric] : loss.metrics) put(metric.first);
  };
  if (whole_) put_all(*whole_);
  for (const auto& [micro_batch, loss] : losses_) put_all(loss);
  values_ = values.empty() ? HostCopy() : HostCopy(at::cat(values));
}

// A rank without micro-batches has never seen a loss; the owner of number 0 tells the names.
void MetricTable::agree_on_names() {
  if (has_names_) return;
  const int root = owner_of_first_micro_batch(num_micro_batches_, communicator_.size());
  at::Tensor text = at::zeros({kNamesLength}, at::kLong);
  if (communicator_.rank() == root) {
    std::string joined;
    for (const auto& [name, metric] : losses_.at(0).metrics) joined += name + '\n';
    KILN_CHECK(joined.size() < kNamesLength, "names of metrics are too long together");
    std::copy(joined.begin(), joined.end(), text.data_ptr<std::int64_t>());
  }
  communicator_.broadcast(text, root).wait();
  std::string name;
  for (const auto* letter = text.data_ptr<std::int64_t>(); *letter != 0; ++letter) {
    if (*letter != '\n') {
      name += static_cast<char>(*letter);
    } else {
      names_.push_back(std::exchange(name, {}));
    }
  }
  has_names_ = true;
}

MetricTable::Result MetricTable::whole_result() const {
  const double* value = values_.get().const_data_ptr<double>();
  Result result{.loss = *value++, .metrics = {}, .losses = {}};
  for (const auto& [name, metric] : whole_->metrics) {
    const double sum = *value++;
    result.metrics[name] = metric.second != 0.0 ? sum / metric.second : 0.0;
  }
  return result;
}

MetricTable::Result MetricTable::reduce() {
  if (whole_) return whole_result();
  agree_on_names();
  // Columns: loss, then sum and weight of every metric.
  const auto columns = static_cast<std::int64_t>(1 + 2 * names_.size());
  const at::Tensor table = at::zeros({num_micro_batches_, columns}, at::kDouble);
  const double* value = losses_.empty() ? nullptr : values_.get().const_data_ptr<double>();
  for (const auto& [micro_batch, loss] : losses_) {
    KILN_CHECK(loss.metrics.size() == names_.size(), "a loss has {} metrics, the first had {}",
               loss.metrics.size(), names_.size());
    double* row = table.data_ptr<double>() + micro_batch * columns;
    *row++ = *value++;
    for (const std::string& name : names_) {
      *row++ = *value++;
      *row++ = loss.metrics.at(name).second;
    }
  }
  communicator_.all_reduce(table).wait();

  Result result;
  std::vector<double> totals(static_cast<std::size_t>(columns), 0.0);
  for (std::int64_t m = 0; m < num_micro_batches_; ++m) {
    const double* row = table.data_ptr<double>() + m * columns;
    for (std::size_t k = 0; k < totals.size(); ++k) totals[k] += row[k];
    result.losses.push_back(row[0]);
  }
  result.loss = totals[0];
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const double weight = totals[2 + 2 * i];
    result.metrics[names_[i]] = weight != 0.0 ? totals[1 + 2 * i] / weight : 0.0;
  }
  return result;
}

OrderedSums::OrderedSums(Communicator& communicator, std::int64_t num_micro_batches)
    : communicator_(communicator), num_micro_batches_(num_micro_batches) {}

void OrderedSums::add(std::int64_t micro_batch, const Sums& sums) {
  std::map<std::string, HostCopy>& kept = sums_[micro_batch];
  for (const auto& [name, tensor] : sums) {
    kept[name] = HostCopy(tensor.detach().to(at::kDouble, /*non_blocking=*/false, /*copy=*/true));
  }
}

Sums OrderedSums::reduce(const Sums& like) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  if (is_empty()) {
    for (const auto& [name, tensor] : like) shapes[name] = tensor.sizes().vec();
  } else {
    for (const auto& [name, copy] : sums_.begin()->second) shapes[name] = copy.get().sizes().vec();
  }
  std::int64_t width = 0;
  for (const auto& [name, shape] : shapes) width += c10::multiply_integers(shape);
  if (width == 0) return {};
  const at::Tensor table = at::zeros({num_micro_batches_, width}, at::kDouble);
  for (const auto& [micro_batch, sums] : sums_) {
    std::vector<at::Tensor> row;
    for (const auto& [name, shape] : shapes) row.push_back(sums.at(name).get().reshape({-1}));
    table[micro_batch].copy_(at::cat(row));
  }
  communicator_.all_reduce(table).wait();
  const at::Tensor total = at::zeros({width}, at::kDouble);
  for (std::int64_t m = 0; m < num_micro_batches_; ++m) total.add_(table[m]);
  Sums totals;
  std::int64_t column = 0;
  for (const auto& [name, shape] : shapes) {
    const std::int64_t count = c10::multiply_integers(shape);
    totals[name] = total.narrow(0, column, count).view(shape);
    column += count;
  }
  sums_.clear();
  return totals;
}

}  // namespace kiln
