#pragma once

#include <filesystem>

#include "core/dataset_info.h"

namespace kiln {

/// RUN/imported.json: what a model that `kiln import` brought in expects of its data, so that it
/// can be exported again without any. Identity of a dataset (samples, fingerprint) is left out.
void write_data_info(const std::filesystem::path& run, const DatasetInfo& data);
DatasetInfo read_data_info(const std::filesystem::path& run);
bool has_data_info(const std::filesystem::path& run);

}  // namespace kiln
