#include "data/options.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/recipe/recipe_reader.h"

namespace kiln {
namespace {

bool is_range(const std::vector<double>& range, double most) {
  return range.size() == 2 && range[0] > 0 && range[0] <= range[1] && range[1] <= most;
}

bool report(const std::vector<std::string>& problems, RecipeReader& reader) {
  for (const std::string& problem : problems) reader.problem(problem);
  return problems.empty();
}

}  // namespace

void resolve_views(ImageOptions& options) {
  for (ViewOptions& view : options.views) {
    if (view.size == 0) view.size = options.size;
  }
}

bool check(const DataOptions& options, RecipeReader& reader) {
  std::vector<std::string> problems;
  if (options.workers < 0) problems.push_back("data.workers is negative");
  if (options.shuffle_shards < 1) problems.push_back("data.shuffle_shards should be at least 1");
  return report(problems, reader);
}

bool check(const ImageOptions& options, RecipeReader& reader) {
  std::vector<std::string> problems;
  if (options.crop != "random_resized" && options.crop != "center" && options.crop != "none") {
    problems.push_back(
        fmt::format("data.crop = \"{}\" should be random_resized, center or none", options.crop));
  }
  if (options.size < 0) problems.push_back("data.size is negative");
  if (!is_range(options.crop_scale, 1.0)) {
    problems.push_back("data.crop_scale should be two ascending shares of the area, as [0.2, 1.0]");
  }
  if (!is_range(options.crop_ratio, 1e9)) {
    problems.push_back("data.crop_ratio should be two ascending ratios, as [0.75, 1.33]");
  }
  if (options.mean.size() != options.std.size()) {
    problems.push_back("data.mean and data.std should have a number per channel each");
  }
  if (std::ranges::any_of(options.std, [](double deviation) { return !(deviation > 0); })) {
    problems.push_back("data.std should be above 0");
  }
  if (!options.views.empty() && (options.crop != "none" || options.flip)) {
    problems.push_back(
        "data.crop and data.flip are of a single picture: beside [[data.views]], give scale and "
        "flip "
        "there");
  }
  for (std::size_t i = 0; i < options.views.size(); ++i) {
    const auto found = options.views[i].problems(fmt::format("data.views.{}", i));
    problems.insert(problems.end(), found.begin(), found.end());
  }
  return report(problems, reader);
}

}  // namespace kiln
