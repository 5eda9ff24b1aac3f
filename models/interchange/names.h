#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "models/layers/parameters.h"

namespace kiln {

/// How one of our tensors relates to those of a published checkpoint layout.
struct NameRule {
  enum class Kind {
    kSame,       // one tensor, equal
    kSplitRows,  // several tensors whose rows, one after the other, are ours (fused q, k, v)
    kCopies,     // one tensor, which they hold several times; on the way in all must be equal
  };
  std::string ours;
  std::vector<std::string> theirs;
  Kind kind = Kind::kSame;
};
using NameTable = std::vector<NameRule>;

/// Adds the rules for weight and bias of one layer.
void add_layer(NameTable& table, const std::string& ours, const std::string& theirs);
/// Weight and bias of a fused projection whose parts are separate layers there.
void add_split_layer(NameTable& table, const std::string& ours,
                     const std::vector<std::string>& theirs);

/// Our tensors under their names, in the order of the table. Values are views or copies, never
/// converted: a round trip is exact to the bit.
std::vector<std::pair<std::string, at::Tensor>> to_theirs(const NameTable& table,
                                                          const NamedTensors& ours);

/// Their tensors under our names. Throws Error(kCheckpoint) naming every missing and unexpected
/// tensor; `origin` says where they come from.
NamedTensors to_ours(const NameTable& table, const NamedTensors& theirs, const std::string& origin);

/// Replaces the first of two spellings by the second where a name contains it: layouts have
/// dialects.
struct NameAlias {
  std::string found;
  std::string meant;
};
NamedTensors rename_aliases(const NamedTensors& theirs, const std::vector<NameAlias>& aliases);

}  // namespace kiln
