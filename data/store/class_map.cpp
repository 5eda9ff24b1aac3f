#include "data/store/class_map.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "data/store/labels.h"

namespace kiln {

namespace {

class Renumbered : public BatchSource {
 public:
  Renumbered(std::shared_ptr<const BatchSource> source, ClassMap map)
      : source_(std::move(source)), map_(std::move(map)) {}

  std::int64_t num_samples() const override { return source_->num_samples(); }
  std::int64_t block_samples() const override { return source_->block_samples(); }
  Batch allocate(std::int64_t num_samples) const override { return source_->allocate(num_samples); }
  void read(std::span<const std::int64_t> ids, std::int64_t positions_begin, Batch& batch,
            std::int64_t row_begin) const override {
    source_->read(ids, positions_begin, batch, row_begin);
    const auto found = batch.tensors.find("label");
    if (found == batch.tensors.end()) return;
    auto* labels = found->second.data_ptr<std::int64_t>() + row_begin;
    for (std::size_t i = 0; i < ids.size(); ++i) labels[i] = map_(labels[i]);
  }
  std::string describe(std::int64_t id) const override { return source_->describe(id); }

 private:
  std::shared_ptr<const BatchSource> source_;
  ClassMap map_;
};

}  // namespace

std::shared_ptr<const BatchSource> renumbered(std::shared_ptr<const BatchSource> source,
                                              ClassMap map) {
  if (map.is_identity()) return source;
  return std::make_shared<Renumbered>(std::move(source), std::move(map));
}

std::vector<std::int64_t> count_classes(const Dataset& dataset) {
  std::vector<std::int64_t> counts(dataset.manifest().class_names.size());
  for (std::int64_t number = 0; number < dataset.num_shards(); ++number) {
    const auto shard = dataset.shard(number);
    const auto of_shard = count_labels({shard.get()}, std::ssize(dataset.manifest().class_names));
    counts.resize(std::max(counts.size(), of_shard.size()));
    for (std::size_t i = 0; i < of_shard.size(); ++i) counts[i] += of_shard[i];
  }
  return counts;
}

ClassMap::ClassMap(const Dataset& dataset, const std::vector<std::string>& names,
                   const std::string& reference) {
  const std::vector<std::string>& own = dataset.manifest().class_names;
  if (own.empty() || names.empty() || own == names) return;
  const std::vector<std::int64_t> counts = count_classes(dataset);
  std::vector<std::string> unknown, unused;
  for (std::size_t i = 0; i < own.size(); ++i) {
    const auto found = std::ranges::find(names, own[i]);
    const bool is_known = found != names.end();
    numbers_.push_back(is_known ? std::distance(names.begin(), found) : -1);
    if (!is_known && counts[i] > 0) unknown.push_back(own[i]);
  }
  for (const std::string& name : names) {
    if (std::ranges::find(own, name) == own.end()) unused.push_back(name);
  }
  if (!unknown.empty()) {
    throw data_error(
        "'{}' has samples of classes that {} does not know: {}. It knows: {}. Give the classes the "
        "same names, or leave those out",
        dataset.folder().string(), reference, fmt::join(unknown, ", "), fmt::join(names, ", "));
  }
  log_info("'{}': its classes are numbered by their names as in {}{}", dataset.folder().string(),
           reference,
           unused.empty() ? "" : fmt::format("; it has none of: {}", fmt::join(unused, ", ")));
}

}  // namespace kiln
