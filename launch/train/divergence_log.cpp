#include "launch/train/divergence_log.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/report/log.h"

namespace kiln {

namespace {

using Json = nlohmann::ordered_json;
constexpr std::int64_t kMostNamed = 1024;  // samples of a line

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::vector<std::int64_t> samples_of(const Divergence& divergence, std::int64_t micro_batch,
                                     const SampleOrder& order) {
  std::vector<std::int64_t> samples;
  const std::int64_t first = divergence.first_position + micro_batch * divergence.micro_batch;
  for (std::int64_t i = 0; i < std::min(divergence.micro_batch, kMostNamed); ++i) {
    samples.push_back(order.at(first + i));
  }
  return samples;
}

}  // namespace

void log_divergence(const Divergence& divergence, const TrainingSetup& setup,
                    const std::filesystem::path& run_folder) {
  const SampleOrder order(setup.data.order);
  Json line = {{"step", divergence.step},         {"phase", divergence.phase},
               {"reason", divergence.reason},     {"action", divergence.action},
               {"loss", number(divergence.loss)}, {"grad_norm", number(divergence.grad_norm)},
               {"losses", Json::array()},         {"suspects", Json::array()}};
  for (const double loss : divergence.losses) line["losses"].push_back(number(loss));
  std::string named;
  for (const std::int64_t m : divergence.suspects) {
    const auto samples = samples_of(divergence, m, order);
    Json places = Json::array();
    for (const std::int64_t sample : samples) places.push_back(setup.data.source->describe(sample));
    line["suspects"].push_back(
        {{"micro_batch", m},
         {"first_position", divergence.first_position + m * divergence.micro_batch},
         {"samples", samples},
         {"places", places}});
    if (named.empty()) named = fmt::format("{}", fmt::join(samples, " "));
  }
  log_warning("{}; samples {}. {}: 'kiln replay {} --step {}' tells a bad sample from bad hardware",
              divergence.describe(), named,
              divergence.action == "stop"   ? "The run ends"
              : divergence.action == "skip" ? "The step is skipped"
                                            : "Rolling back",
              run_folder.string(), divergence.step);
  std::ofstream(run_folder / "divergences.jsonl", std::ios::app) << line.dump() << std::endl;
}

}  // namespace kiln
