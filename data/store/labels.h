#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/store/shard.h"

namespace kiln {

/// More classes than this are taken for a mistake: every class has a name and a row of a classifier.
constexpr std::int64_t kMostClasses = std::int64_t{1} << 20;

/// Throws Error(kData) unless a field's rows are one integer each. `what` names the field.
void check_label_field(const FieldInfo& field, const std::string& what);

/// The integer in field "label" of a row, from 0 up; throws Error(kData) for a negative one.
std::int64_t read_label(const Shard& shard, std::int64_t row);

/// Samples of each class, by number: as many entries as the largest label asks for, at least
/// `num_classes`. Throws Error(kData) naming shard and row of a label out of range; with
/// `num_classes` > 0 labels beyond it are.
std::vector<std::int64_t> count_labels(const std::vector<const Shard*>& shards,
                                       std::int64_t num_classes = 0);

}  // namespace kiln
