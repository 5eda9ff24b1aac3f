#pragma once

#include <cstdint>

#include "data/images/image.h"
#include "data/views/view_draw.h"

namespace kiln {

/// Makes the view out [size, size, channels] that `draw` decided: `region` holds the pixels of
/// draw.region.
void make_view(const ImageView& region, const ViewOptions& options, const ViewDraw& draw,
               std::uint8_t* out);

}  // namespace kiln
