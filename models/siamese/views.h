#pragma once

#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/objective.h"
#include "core/recipe/recipe.h"

// What methods that compare views of a picture have in common.

namespace kiln {

/// "image.V": what a batch calls its view number V.
std::string view_name(std::int64_t view);

/// What is wrong with the views and the batch for a method of exactly two views of one size, in the
/// words of a recipe: fewer or more views, other sizes, a global batch of one.
std::vector<std::string> two_view_problems(const DatasetInfo& data, const Recipe& recipe,
                                           const std::string& method);
/// The same for multi-crop: two views of the first size, and then any number of smaller ones.
std::vector<std::string> multi_crop_problems(const DatasetInfo& data, const Recipe& recipe,
                                             const std::string& method);
/// A temperature, momentum or the like that lies outside of (low, high].
void check_range(const std::string& key, double value, double low, double high,
                 std::vector<std::string>& problems);

}  // namespace kiln
