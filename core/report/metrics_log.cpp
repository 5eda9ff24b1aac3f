#include "core/report/metrics_log.h"

#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/report/log.h"

namespace kiln {

namespace {

/// Keeps the lines of steps up to `last_step`; a half-written last line is dropped too.
void drop_lines_after(const std::filesystem::path& path, std::int64_t last_step) {
  std::ifstream in(path);
  if (!in) return;
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object() && parsed.value("step", std::int64_t{0}) <= last_step)
      kept += line + "\n";
  }
  in.close();
  const auto temporary = std::filesystem::path(path).concat(".partial");
  std::ofstream(temporary) << kept;
  std::filesystem::rename(temporary, path);
}

/// JSON has no NaN or infinity; a diverged run's last lines say null.
nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

}  // namespace

MetricsLog::MetricsLog(const Options& options)
    : options_(options), bar_("train", "samples", options.total_samples, options.samples_seen) {
  const auto path = options.run_folder / "metrics.jsonl";
  drop_lines_after(path, options.first_step);
  jsonl_ = std::fopen(path.c_str(), "a");
  if (!jsonl_) {
    throw checkpoint_error("{} cannot be written: {}", path.string(), std::strerror(errno));
  }
  tensorboard_.emplace(options.run_folder);
}

MetricsLog::~MetricsLog() {
  if (jsonl_) std::fclose(jsonl_);
}

void MetricsLog::report(const StepReport& report) {
  nlohmann::ordered_json line = {{"step", report.step},
                                 {"samples", report.samples},
                                 {"loss", number(report.loss)},
                                 {"lr", report.lr},
                                 {"grad_norm", number(report.grad_norm)},
                                 {"samples_per_s", number(report.samples_per_s)}};
  std::vector<std::pair<std::string, double>> scalars = {
      {"train/loss", report.loss},
      {"train/lr", report.lr},
      {"train/grad_norm", report.grad_norm},
      {"speed/samples_per_s", report.samples_per_s},
      {"speed/data_wait_s", report.data_wait_s},
      {"speed/comm_wait_s", report.comm_wait_s}};
  if (options_.flops_per_sample > 0 && options_.peak_flops > 0) {
    const double mfu = report.samples_per_s * options_.flops_per_sample / options_.peak_flops;
    line["mfu"] = number(mfu);
    scalars.emplace_back("speed/mfu", mfu);
  }
  line["data_wait_s"] = report.data_wait_s;
  line["comm_wait_s"] = report.comm_wait_s;
  line["memory_bytes"] = report.memory_bytes;
  for (const auto& [name, value] : report.metrics) {
    line[name] = number(value);
    scalars.emplace_back("train/" + name, value);
  }
  write_line(line.dump());
  tensorboard_->scalars(report.step, scalars);
  bar_.update(report.samples, fmt::format("loss {:.4f}  lr {:.2e}", report.loss, report.lr));
}

void MetricsLog::evaluation(std::int64_t step, const std::map<std::string, double>& figures) {
  nlohmann::ordered_json line = {{"step", step}};
  std::vector<std::pair<std::string, double>> scalars;
  std::string text;
  for (const auto& [name, value] : figures) {
    line["eval/" + name] = number(value);
    scalars.emplace_back("eval/" + name, value);
    text += fmt::format("  {} {:.4g}", name, value);
  }
  write_line(line.dump());
  tensorboard_->scalars(step, scalars);
  log_info("step {}: evaluation{}", step, text);
}

void MetricsLog::picture(std::int64_t step, const std::string& tag, int width, int height,
                         std::string_view png) {
  tensorboard_->picture(step, tag, width, height, png);
}

void MetricsLog::write_line(const std::string& line) {
  std::fprintf(jsonl_, "%s\n", line.c_str());
  std::fflush(jsonl_);
}

}  // namespace kiln
