#pragma once

#include <string>
#include <vector>

namespace kiln {

/// "; did you mean 'X'?" for the known name at the smallest edit distance, or "" when none is near
/// (more than a third of the letters differ).
std::string did_you_mean(const std::string& name, const std::vector<std::string>& known);

/// Adds to `message` style errors: "name 'vti' is unknown; did you mean 'vit'? Known: mae, vit".
std::string unknown_name(const std::string& what, const std::string& name,
                         const std::vector<std::string>& known);

}  // namespace kiln
