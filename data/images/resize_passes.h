#pragma once

#include <cstdint>

#include "data/images/image.h"
#include "data/images/taps.h"

namespace kiln {

/// The two passes of a resize: lines are resized to the outputs of `columns` in their order,
/// rounded to 8 bits, and combined to the outputs of `rows`. Writes out [rows, columns, channels].
/// The two functions give the same bits.

/// Two taps at a time.
void resize_in_pairs(const ImageView& in, const TapTable& columns, const TapTable& rows,
                     std::uint8_t* out);

/// Four taps at a time, where can_resize_in_quads().
void resize_in_quads(const ImageView& in, const TapTable& columns, const TapTable& rows,
                     std::uint8_t* out);

/// RGB, on processors with 8-bit multiply-add (AVX-512 VNNI and VBMI), if four successive outputs
/// see no more than 64 bytes of a line: enlarging and reducing by up to some 2.5.
bool can_resize_in_quads(const ImageView& in, const TapTable& columns);

}  // namespace kiln
