#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/importers/import.h"

namespace kiln {

/// A JPEG or PNG file, or the part of an archive that holds one.
struct PictureInput {
  std::filesystem::path file;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::int32_t label = 0;
  std::string name;  // for messages
};

/// What the importers of pictures share: decodes every input once on options.num_threads, notes the
/// broken ones, and writes the rest into this rank's shards in the order given.
/// `manifest`: provenance and class names; without class names the labels are left out.
ImportResult import_pictures(const ImportOptions& options, const std::vector<PictureInput>& inputs,
                             Manifest manifest);

}  // namespace kiln
