#include "data/view_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/nearest_name.h"

namespace kiln {
namespace {

class Problems {
 public:
  explicit Problems(std::string name) : name_(std::move(name)) {}

  template <typename... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    found_.push_back(name_ + "." + fmt::format(text, std::forward<Args>(args)...));
  }
  void probability(const char* key, double value) {
    if (!(value >= 0.0 && value <= 1.0)) {
      add("{} = {}: a probability is between 0 and 1", key, value);
    }
  }
  void range(const char* key, const std::vector<double>& value, double most, const char* wanted) {
    const bool is_range =
        value.size() == 2 && value[0] > 0.0 && value[0] <= value[1] && value[1] <= most;
    if (!is_range) add("{} = [{}] should be {}", key, fmt::join(value, ", "), wanted);
  }
  void choice(const char* key, const std::string& value, const std::vector<std::string>& known) {
    if (std::ranges::find(known, value) == known.end()) {
      found_.push_back(unknown_name(name_ + "." + key, value, known));
    }
  }
  std::vector<std::string> found() && { return std::move(found_); }

 private:
  std::string name_;
  std::vector<std::string> found_;
};

}  // namespace

std::int64_t ViewOptions::blur_taps() const {
  return blur_kernel > 0 ? blur_kernel : 2 * std::max<std::int64_t>(size / 20, 1) + 1;
}

std::vector<std::string> ViewOptions::problems(const std::string& name) const {
  Problems found(name);
  if (count < 1) found.add("count = {} should be at least 1", count);
  if (size < 0) found.add("size = {} is negative", size);
  if (size == 0) found.add("size is missing: the side of the view (or give data.size)");
  found.range("scale", scale, 1.0,
              "two ascending shares of the area above 0; a crop is no larger than the picture, 1");
  found.range("ratio", ratio, 1e9, "two ascending ratios above 0, as [0.75, 1.33]");
  found.choice("interpolation", interpolation, {"bicubic", "bilinear"});
  found.probability("flip", flip);
  const bool has_strengths =
      jitter.size() == 4 && jitter[3] <= 0.5 &&
      std::ranges::all_of(jitter, [](double strength) { return strength >= 0.0; });
  if (!has_strengths) {
    found.add(
        "jitter = [{}] should be four strengths of at least 0: brightness, contrast, saturation, "
        "and hue, which is at most 0.5",
        fmt::join(jitter, ", "));
  }
  found.probability("jitter_p", jitter_p);
  found.probability("grey", grey);
  found.probability("blur", blur);
  found.range("blur_sigma", blur_sigma, 1e3, "two ascending numbers of pixels above 0");
  found.choice("blur_kind", blur_kind, {"pillow", "gaussian", "gaussian_black"});
  if (blur_kernel < 0 || (blur_kernel > 0 && blur_kernel % 2 == 0)) {
    found.add("blur_kernel = {} should be odd, or 0", blur_kernel);
  } else if (blur > 0.0 && blur_kind == "gaussian" && size > 0 && blur_taps() / 2 >= size) {
    found.add("blur_kernel = {} mirrors {} pixels, but a view has {}", blur_taps(), blur_taps() / 2,
              size);
  }
  found.probability("solarise", solarise);
  if (solarise_threshold < 0 || solarise_threshold > 256) {
    found.add("solarise_threshold = {} should be between 0 and 256", solarise_threshold);
  }
  return std::move(found).found();
}

}  // namespace kiln
