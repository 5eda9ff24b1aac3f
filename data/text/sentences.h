#pragma once

#include <cstddef>
#include <string_view>

namespace kiln {

/// Bytes of the first sentence of `text`, blanks behind it included: at most text.size().
///
/// A sentence ends behind . ! ? or an ellipsis, with closing quotes and brackets, where a blank
/// follows and then neither a lower-case ASCII letter nor a dash; behind the full-width marks at
/// once. A full stop after a common title or abbreviation ("Mr.", "etc.") or a single capital
/// letter does not end one. The rule is for segmenting training text: fixed, fast, the same on
/// every machine.
std::size_t sentence_length(std::string_view text);

}  // namespace kiln
