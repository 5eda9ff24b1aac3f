#include "launch/report/run_history.h"

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace kiln {

namespace {

using nlohmann::json;

void for_each_line(const std::filesystem::path& path, const std::function<void(const json&)>& use) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const json parsed = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object()) use(parsed);
  }
}

double number(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? found->get<double>() : 0.0;
}

/// A report covers the samples since the one before; at its speed that took so many seconds.
void add_times(const json& line, RunHistory& history) {
  const double speed = number(line, "samples_per_s");
  if (speed <= 0) return;
  const double samples = number(line, "samples") - static_cast<double>(history.last_samples);
  history.total_s += samples / speed;
  history.data_wait_s += number(line, "data_wait_s");
  history.comm_wait_s += number(line, "comm_wait_s");
  history.clock.samples.push_back(number(line, "samples"));
  history.clock.values.push_back(history.total_s);
}

void add_line(const json& line, RunHistory& history) {
  if (line.contains("samples")) {
    add_times(line, history);
    history.last_samples = static_cast<std::int64_t>(number(line, "samples"));
  }
  history.last_step = static_cast<std::int64_t>(number(line, "step"));
  for (const auto& [name, value] : line.items()) {
    if (name == "step" || name == "samples" || !value.is_number()) continue;
    history.curves[name].samples.push_back(static_cast<double>(history.last_samples));
    history.curves[name].values.push_back(value.get<double>());
  }
}

RunHistory::Evaluation evaluation_of(const json& line) {
  RunHistory::Evaluation evaluation;
  for (const auto& [name, value] : line.items()) {
    if (value.is_string()) evaluation.texts[name] = value;
    if (value.is_number()) evaluation.figures[name] = value;
  }
  return evaluation;
}

}  // namespace

RunHistory read_run_history(const std::filesystem::path& run_folder) {
  const auto path = run_folder / "metrics.jsonl";
  if (!std::filesystem::exists(path)) {
    throw usage_error("'{}' is not a run: it has no metrics.jsonl", run_folder.string());
  }
  RunHistory history;
  for_each_line(path, [&](const json& line) { add_line(line, history); });
  for_each_line(run_folder / "evaluations.jsonl",
                [&](const json& line) { history.evaluations.push_back(evaluation_of(line)); });
  return history;
}

}  // namespace kiln
