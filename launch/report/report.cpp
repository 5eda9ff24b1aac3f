#include "launch/report/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/base/file_io.h"
#include "core/report/progress_bar.h"
#include "launch/report/chart.h"
#include "launch/report/html.h"
#include "launch/report/report_style.h"
#include "launch/report/run_history.h"
#include "launch/report/spread.h"

namespace kiln {

namespace {

using Paths = std::vector<std::filesystem::path>;

std::string section(const std::string& title, const std::string& content) {
  return content.empty() ? "" : fmt::format("<section><h2>{}</h2>{}</section>", title, content);
}

std::string tile(const std::string& value, const std::string& caption) {
  return fmt::format("<div class=tile><b>{}</b><span>{}</span></div>", escape_html(value),
                     escape_html(caption));
}

std::string tiles(const RunHistory& history) {
  std::string html = "<div class=tiles>";
  html += tile(format_count(history.last_step), "steps");
  html += tile(format_count(history.last_samples), "samples seen");
  const auto add = [&](const char* name, auto&& show, const char* caption) {
    if (const auto found = history.curves.find(name); found != history.curves.end()) {
      html += tile(show(found->second.values), caption);
    }
  };
  add(
      "loss", [](const auto& v) { return fmt::format("{:.4f}", v.back()); }, "final loss");
  add(
      "samples_per_s",
      [](const auto& v) { return format_count(std::llround(spread_of(v).median)); },
      "samples per second, median");
  html += tile(format_duration(history.total_s), "spent in steps");
  add(
      "memory_bytes", [](const auto& v) { return format_bytes(std::ranges::max(v)); },
      "peak memory of rank 0");
  return html + "</div>";
}

std::string charts(const RunHistory& history) {
  // The ones everybody looks at first, then whatever else the model reported.
  struct Known {
    const char* name;
    ChartOptions options;
  };
  const std::vector<Known> known = {
      {"loss", {"Loss", "{:.4g}", true}},
      {"lr", {"Learning rate", "{:.2e}", false, true}},
      {"grad_norm", {"Gradient norm", "{:.3g}", true}},
      {"samples_per_s", {"Samples per second", "{:.4g}", false, true}},
      {"mfu", {"Model FLOP utilisation", "{:.3f}", false, true}}};
  const std::vector<std::string> shown_elsewhere = {"data_wait_s", "comm_wait_s", "memory_bytes"};
  std::string html;
  for (const Known& entry : known) {
    if (const auto found = history.curves.find(entry.name); found != history.curves.end()) {
      html += line_chart(entry.options, found->second);
    }
  }
  for (const auto& [name, curve] : history.curves) {
    const bool is_known =
        std::ranges::any_of(known,
                            [&name = name](const Known& entry) { return name == entry.name; }) ||
        std::ranges::find(shown_elsewhere, name) != shown_elsewhere.end();
    if (!is_known) html += line_chart({name}, curve);
  }
  return "<div class=charts>" + html + "</div>";
}

std::string time_spent(const RunHistory& history) {
  const double computing =
      std::max(0.0, history.total_s - history.data_wait_s - history.comm_wait_s);
  const std::string bar = stacked_bar({{"computing", computing},
                                       {"waiting for data", history.data_wait_s},
                                       {"waiting for other ranks", history.comm_wait_s}});
  return bar.empty() ? "" : "<div class=card>" + bar + "</div>";
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

/// At most six of the pictures made while training, evenly over the run, the last one wide.
std::string pictures(const std::filesystem::path& run) {
  Paths files = sorted_files(run / "pictures", ".png");
  constexpr std::size_t kShown = 6;
  if (files.size() > kShown) {
    Paths chosen;
    for (std::size_t i = 0; i < kShown; ++i)
      chosen.push_back(files[i * (files.size() - 1) / (kShown - 1)]);
    files = chosen;
  }
  for (const auto& file : sorted_files(run, ".png")) files.push_back(file);
  if (files.empty()) return "";
  std::string html = "<div class=\"card pictures\">";
  for (const auto& file : files) {
    html += fmt::format("<figure{}>{}<figcaption>{}</figcaption></figure>",
                        file == files.back() ? " class=wide" : "",
                        inline_png(file, file.stem().string()), escape_html(file.stem().string()));
  }
  return html + "</div>";
}

std::string evaluations(const RunHistory& history) {
  if (history.evaluations.empty()) return "";
  std::string html = "<div class=card><table><tr><th>evaluation<th>of<th>figures</tr>";
  for (const auto& evaluation : history.evaluations) {
    const auto text = [&](const char* name) {
      const auto found = evaluation.texts.find(name);
      return found == evaluation.texts.end() ? std::string() : escape_html(found->second);
    };
    std::string figures;
    for (const auto& [name, value] : evaluation.figures) {
      figures += fmt::format("{}{} <b>{:.6g}</b>", figures.empty() ? "" : " &middot; ",
                             escape_html(name), value);
    }
    html += fmt::format("<tr><td>{}<td>{}<td>{}</tr>", text("evaluation"), text("of"), figures);
  }
  return html + "</table></div>";
}

std::uintmax_t folder_bytes(const std::filesystem::path& folder) {
  std::uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

std::string checkpoints(const std::filesystem::path& run) {
  const auto root = run / "checkpoints";
  if (!std::filesystem::is_directory(root)) return "";
  Paths folders;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (std::filesystem::exists(entry.path() / "manifest.json")) folders.push_back(entry.path());
  }
  if (folders.empty()) return "";
  std::ranges::sort(folders);
  std::string html = "<div class=card><table><tr><th>checkpoint<th class=number>size</tr>";
  for (const auto& folder : folders) {
    html +=
        fmt::format("<tr><td>{}<td class=number>{}</tr>", escape_html(folder.filename().string()),
                    format_bytes(static_cast<double>(folder_bytes(folder))));
  }
  return html + "</table></div>";
}

std::string recipe(const std::filesystem::path& run) {
  if (!std::filesystem::exists(run / "recipe.toml")) return "";
  return fmt::format("<details class=card><summary>recipe.toml</summary><pre>{}</pre></details>",
                     escape_html(read_text_file(run / "recipe.toml")));
}

}  // namespace

std::filesystem::path write_report(const std::filesystem::path& run_folder) {
  const RunHistory history = read_run_history(run_folder);
  const std::filesystem::path run = std::filesystem::canonical(run_folder);
  const std::string name = escape_html(run.filename().string());
  const std::string page = fmt::format(
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
      "content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{1}</style><main>"
      "<header><h1>{0}</h1><p>{2:%Y-%m-%d %H:%M} &middot; {3}</p></header>{4}{5}{6}{7}{8}{9}{10}"
      "<footer>Written by kiln report. Values over samples seen; the pale line is what was logged, "
      "the strong one its moving mean.</footer></main></html>\n",
      name, kReportStyle, fmt::localtime(std::time(nullptr)), escape_html(run.string()),
      tiles(history), section("Curves", charts(history)), section("Pictures", pictures(run)),
      section("Evaluations", evaluations(history)),
      section("Where the time went", time_spent(history)), section("Checkpoints", checkpoints(run)),
      section("Recipe", recipe(run)));
  const std::filesystem::path path = run / "report.html";
  write_file_atomically(posix_file_system(), path, page);
  return path;
}

}  // namespace kiln
