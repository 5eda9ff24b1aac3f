#include "launch/report/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/base/file_io.h"
#include "launch/report/spread.h"

namespace kiln {

namespace {

using Json = nlohmann::ordered_json;
using Paths = std::vector<std::filesystem::path>;

constexpr std::size_t kMaxPoints = 4000;
constexpr std::size_t kFewestPictures = 6, kMostPictures = 60;
constexpr std::uintmax_t kMaxPictureBytes = 32u << 20;

std::string base64(std::string_view bytes) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      word = word << 8 | (i + k < bytes.size() ? static_cast<std::uint8_t>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k <= bytes.size() ? kLetters[word >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

/// With as many digits as a chart can show, so that the page stays small.
double seven_digits(double value) { return std::stod(fmt::format("{:.7g}", value)); }

Json curve_data(const Curve& curve) {
  const Curve few = thinned(curve, kMaxPoints);
  Json samples = Json::array(), values = Json::array();
  for (const double at : few.samples) samples.push_back(std::llround(at));
  for (const double value : few.values) values.push_back(seven_digits(value));
  Json newest;
  for (const double value : curve.values) {
    if (std::isfinite(value)) newest = value;
  }
  return {{"samples", samples}, {"values", values}, {"newest", newest}};
}

Json curves(const RunHistory& history) {
  Json data = Json::object();
  for (const auto& [name, curve] : history.curves) {
    Json one = curve_data(curve);
    if (!one["values"].empty()) data[name] = std::move(one);
  }
  return data;
}

Paths sorted_files(const std::filesystem::path& folder, const std::string& extension) {
  Paths files;
  if (!std::filesystem::is_directory(folder)) return files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

Json picture_data(const std::filesystem::path& file) {
  return {{"name", file.stem().string()}, {"png", base64(read_text_file(file))}};
}

/// The 1200 of "step-000001200"; the picture's number where the name says nothing.
std::int64_t step_of(const std::string& name, std::size_t number) {
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  const bool is_step = digits < name.size() && name.size() - digits < 18;
  return is_step ? std::stoll(name.substr(digits)) : static_cast<std::int64_t>(number);
}

Json pictures(const std::filesystem::path& run) {
  const Paths all = sorted_files(run / "pictures", ".png");
  std::uintmax_t largest = 1;
  for (const auto& file : all) largest = std::max(largest, std::filesystem::file_size(file));
  const auto fitting = static_cast<std::size_t>(kMaxPictureBytes / largest);
  Json data = Json::array();
  for (const auto& file : evenly(all, std::clamp(fitting, kFewestPictures, kMostPictures))) {
    data.push_back(picture_data(file));
    data.back()["step"] = step_of(file.stem().string(), data.size());
  }
  return data;
}

Json stills(const std::filesystem::path& run) {
  Json data = Json::array();
  for (const auto& file : sorted_files(run, ".png")) data.push_back(picture_data(file));
  return data;
}

Json evaluations(const RunHistory& history) {
  Json data = Json::array();
  for (const auto& evaluation : history.evaluations) {
    data.push_back({{"texts", evaluation.texts}, {"figures", evaluation.figures}});
  }
  return data;
}

std::uintmax_t folder_bytes(const std::filesystem::path& folder) {
  std::uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

Json checkpoints(const std::filesystem::path& run) {
  const auto root = run / "checkpoints";
  Json data = Json::array();
  if (!std::filesystem::is_directory(root)) return data;
  Paths folders;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (std::filesystem::exists(entry.path() / "manifest.json")) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  for (const auto& folder : folders) {
    data.push_back({{"name", folder.filename().string()}, {"bytes", folder_bytes(folder)}});
  }
  return data;
}

/// `reduce` of a curve's values; null where the run did not report it.
Json figure(const RunHistory& history, const char* name, double (*reduce)(const Curve&)) {
  const auto found = history.curves.find(name);
  return found == history.curves.end() ? Json() : Json(reduce(found->second));
}

}  // namespace

Curve thinned(const Curve& curve, std::size_t count) {
  Curve finite;
  for (std::size_t i = 0; i < curve.values.size(); ++i) {
    if (!std::isfinite(curve.values[i])) continue;
    finite.samples.push_back(curve.samples[i]);
    finite.values.push_back(curve.values[i]);
  }
  const std::size_t given = finite.values.size();
  if (given <= count) return finite;
  Curve result;
  for (std::size_t part = 0; part < count; ++part) {
    const std::size_t begin = part * given / count, end = (part + 1) * given / count;
    double samples = 0, value = 0;
    for (std::size_t i = begin; i < end; ++i) {
      samples += finite.samples[i], value += finite.values[i];
    }
    result.samples.push_back(samples / static_cast<double>(end - begin));
    result.values.push_back(value / static_cast<double>(end - begin));
  }
  return result;
}

Paths evenly(const Paths& files, std::size_t count) {
  if (files.size() <= count) return files;
  Paths chosen;
  for (std::size_t i = 0; i < count; ++i) {
    chosen.push_back(files[i * (files.size() - 1) / (count - 1)]);
  }
  return chosen;
}

Json run_data(const std::filesystem::path& run_folder) {
  const RunHistory history = read_run_history(run_folder);
  const std::filesystem::path run = std::filesystem::canonical(run_folder);
  const auto recipe = run / "recipe.toml";
  const auto median = [](const Curve& curve) { return spread_of(curve.values).median; };
  const auto peak = [](const Curve& curve) { return std::ranges::max(curve.values); };
  return {{"name", run.filename().string()},
          {"folder", run.string()},
          {"steps", history.last_step},
          {"samples", history.last_samples},
          {"total_s", history.total_s},
          {"data_wait_s", history.data_wait_s},
          {"comm_wait_s", history.comm_wait_s},
          {"samples_per_s", figure(history, "samples_per_s", median)},
          {"peak_memory_bytes", figure(history, "memory_bytes", peak)},
          {"clock", curve_data(history.clock)},
          {"curves", curves(history)},
          {"pictures", pictures(run)},
          {"stills", stills(run)},
          {"evaluations", evaluations(history)},
          {"checkpoints", checkpoints(run)},
          {"recipe", std::filesystem::exists(recipe) ? read_text_file(recipe) : ""}};
}

}  // namespace kiln
