#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/importers/import.h"

namespace kiln {

/// A picture's file, or the part of an archive that holds one.
struct PictureInput {
  std::filesystem::path file;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::int32_t label = 0;
  std::string name;    // for messages
  std::string broken;  // why it cannot be used, where that is known already
};

/// Whether a file is meant as a picture, by its ending in any case: ".jpg", ".tiff", and those of
/// formats that are refused by name (".gif").
bool has_picture_ending(const std::filesystem::path& path);

/// What the importers of pictures share: decodes every input once on options.num_threads, notes the
/// broken ones, and writes the rest into this rank's shards in the order given: JPEG and PNG as they
/// are, other formats as PNG.
/// `manifest`: provenance and class names; without class names the labels are left out.
ImportResult import_pictures(const ImportOptions& options, const std::vector<PictureInput>& inputs,
                             Manifest manifest, const LeftOut& left_out);

}  // namespace kiln
