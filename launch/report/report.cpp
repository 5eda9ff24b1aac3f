#include "launch/report/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "launch/report/page.h"
#include "launch/report/run_data.h"

namespace kiln {

namespace {

/// Runs of one name are told apart by their folders.
void name_apart(nlohmann::ordered_json& runs) {
  std::map<std::string, int> given;
  for (const auto& run : runs) ++given[run["name"]];
  for (auto& run : runs) {
    if (given[run["name"]] > 1) run["name"] = run["folder"];
  }
}

std::filesystem::path place_of(const std::filesystem::path& out,
                               const std::filesystem::path& first_run) {
  if (out.empty()) return std::filesystem::canonical(first_run) / "report.html";
  if (std::filesystem::is_directory(out)) return out / "report.html";
  const auto folder = std::filesystem::absolute(out).parent_path();
  if (!std::filesystem::is_directory(folder)) {
    throw usage_error("--out {}: there is no folder {}", out.string(), folder.string());
  }
  return out;
}

}  // namespace

std::filesystem::path write_report(const std::vector<std::filesystem::path>& run_folders,
                                   const std::filesystem::path& out) {
  KILN_CHECK(!run_folders.empty());
  nlohmann::ordered_json data = {
      {"written", fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(std::time(nullptr)))},
      {"runs", nlohmann::ordered_json::array()}};
  for (const auto& folder : run_folders) data["runs"].push_back(run_data(folder));
  name_apart(data["runs"]);
  const std::filesystem::path path = place_of(out, run_folders.front());
  write_file_atomically(posix_file_system(), path, page_with(data));
  return path;
}

}  // namespace kiln
