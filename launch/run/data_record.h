#pragma once

#include <filesystem>

#include "core/dataset_info.h"

namespace kiln {

/// RUN/data.json: what a run's model expects of its data, so that it can be exported where there is
/// none. Identity of a dataset (samples, fingerprint, tokenizer) is left out.
void write_data_info(const std::filesystem::path& run, const DatasetInfo& data);
DatasetInfo read_data_info(const std::filesystem::path& run);
bool has_data_info(const std::filesystem::path& run);

}  // namespace kiln
