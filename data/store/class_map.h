#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/batch_source.h"
#include "data/store/dataset.h"

namespace kiln {

/// The classes of one dataset, numbered as another does: a class is its name, and numbers mean
/// nothing beyond their dataset.
class ClassMap {
 public:
  /// Nothing changes.
  ClassMap() = default;
  /// Classes of `dataset` that have samples must be among `names`; throws Error(kData) that lists
  /// those which are not, and names `reference`. Without names on either side numbers are compared.
  ClassMap(const Dataset& dataset, const std::vector<std::string>& names,
           const std::string& reference);

  bool is_identity() const { return numbers_.empty(); }
  std::int64_t operator()(std::int64_t label) const {
    return numbers_.empty() ? label : numbers_.at(static_cast<std::size_t>(label));
  }

 private:
  std::vector<std::int64_t> numbers_;  // by own label
};

/// The same samples, their "label" numbered by `map`.
std::shared_ptr<const BatchSource> renumbered(std::shared_ptr<const BatchSource> source,
                                              ClassMap map);

/// Samples of each class of a dataset with labels, by number; as many as it has names.
std::vector<std::int64_t> count_classes(const Dataset& dataset);

}  // namespace kiln
