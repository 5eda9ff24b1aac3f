#include "data/options.h"

#include <fmt/format.h>

#include "core/recipe_reader.h"

namespace kiln {
namespace {

void check_range(RecipeReader& reader, const char* key, const std::vector<double>& range,
                 double most) {
  if (range.size() != 2 || range[0] <= 0 || range[0] > range[1] || range[1] > most) {
    reader.problem(
        fmt::format("data.{} should be two ascending numbers above 0, e.g. [0.2, 1.0]", key));
  }
}

}  // namespace

void check(const DataOptions& options, RecipeReader& reader) {
  if (options.path.empty()) {
    reader.problem("data.path is missing: the dataset folder, made by `kiln data import`");
  }
  if (options.workers < 0) reader.problem("data.workers is negative");
  if (options.shuffle_shards < 1) reader.problem("data.shuffle_shards should be at least 1");
}

void check(const ImageOptions& options, RecipeReader& reader) {
  if (options.crop != "random_resized" && options.crop != "center" && options.crop != "none") {
    reader.problem(
        fmt::format("data.crop = \"{}\" should be random_resized, center or none", options.crop));
  }
  if (options.size < 0) reader.problem("data.size is negative");
  check_range(reader, "crop_scale", options.crop_scale, 1.0);
  check_range(reader, "crop_ratio", options.crop_ratio, 1e9);
  if (options.mean.size() != options.std.size()) {
    reader.problem("data.mean and data.std should have a number per channel each");
  }
  for (const double deviation : options.std) {
    if (deviation <= 0) reader.problem("data.std should be above 0");
  }
}

}  // namespace kiln
