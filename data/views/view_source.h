#pragma once

#include <memory>

#include "data/batch_source.h"
#include "data/options.h"
#include "data/store/dataset.h"

namespace kiln {

/// Views of pictures, as options.views list them: "image.0", "image.1", ... uint8
/// [B, size, size, C], groups in their order, and "label" int64 [B] if the dataset has labels. A
/// picture is decoded once, as far as its crops reach.
///
/// What a batch holds depends on (seed, position, number of the view) and the options alone.
std::shared_ptr<const BatchSource> make_view_source(std::shared_ptr<const Dataset> dataset,
                                                    const ImageOptions& options,
                                                    std::uint64_t seed);

}  // namespace kiln
