#pragma once

#include <string>
#include <vector>

#include "data/data_kind.h"

namespace kiln {

/// One row per kind of data. Adding a kind is a folder with its source, one row, one test.
const std::vector<DataKind>& data_kinds();
/// `name` is what a model's row says, not what a user writes: it must be there.
const DataKind& find_data_kind(const std::string& name);

/// Reads [data] through `reader`. `path`: instead of data.path, where not empty.
OpenedData open_data(RecipeReader& reader, const Recipe& recipe, const std::string& kind,
                     DataUse use, const std::string& path = "");

/// Numbers the classes of data to evaluate on as `names` does, whose place `reference` names: what
/// training or a probe learned from. Throws Error(kData) for samples of other classes.
void match_classes(OpenedData& data, const std::vector<std::string>& names,
                   const std::string& reference);

}  // namespace kiln
