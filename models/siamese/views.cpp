#include "models/siamese/views.h"

#include <fmt/format.h>

namespace kiln {
namespace {

constexpr std::int64_t kGlobalViews = 2;

std::vector<std::string> batch_problems(const Recipe& recipe, const std::string& method) {
  if (recipe.train.global_batch > 1) return {};
  return {
      fmt::format("train.global_batch = {}: {} compares pictures with each other and needs at "
                  "least 2",
                  recipe.train.global_batch, method)};
}

}  // namespace

std::string view_name(std::int64_t view) { return fmt::format("image.{}", view); }

std::vector<std::string> two_view_problems(const DatasetInfo& data, const Recipe& recipe,
                                           const std::string& method) {
  std::vector<std::string> problems = batch_problems(recipe, method);
  if (data.views.size() != kGlobalViews) {
    problems.push_back(
        fmt::format("{} compares two views of every picture, and [[data.views]] gives {}: list one "
                    "group with count = 2, or two groups",
                    method, data.views.size()));
  } else if (data.views[0].size != data.views[1].size) {
    problems.push_back(fmt::format("{} needs two views of one size: [[data.views]] gives {} and {}",
                                   method, data.views[0].size, data.views[1].size));
  }
  return problems;
}

std::vector<std::string> multi_crop_problems(const DatasetInfo& data, const Recipe& recipe,
                                             const std::string& method) {
  std::vector<std::string> problems = batch_problems(recipe, method);
  if (data.views.size() < kGlobalViews || data.views[0].size != data.views[1].size) {
    problems.push_back(
        fmt::format("{} needs two views of one size before any smaller ones: give the first group "
                    "of [[data.views]] count = 2",
                    method));
    return problems;
  }
  for (const DatasetInfo::View& view : data.views) {
    if (view.size > data.views[0].size) {
      problems.push_back(fmt::format("a crop of {} is larger than the first two views of {}",
                                     view.size, data.views[0].size));
    }
  }
  return problems;
}

void check_range(const std::string& key, double value, double low, double high,
                 std::vector<std::string>& problems) {
  if (value > low && value <= high) return;
  problems.push_back(
      fmt::format("{} = {}: expected a number above {} and at most {}", key, value, low, high));
}

}  // namespace kiln
