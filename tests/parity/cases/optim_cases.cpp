#include <fmt/format.h>

#include <algorithm>

#include "tests/parity/runners.h"
#include "tests/parity/trainee.h"

namespace kiln::parity {
namespace {

constexpr Bound kNorm{0.0, 1e-6};
constexpr Bound kClipped{0.0, 2e-6};

std::vector<std::string> names_with_prefix(const NamedTensors& tensors, const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) names.push_back(name.substr(prefix.size()));
  }
  return names;
}

Parameter parameter(const std::string& name, const at::Tensor& value, bool has_decay,
                    at::Device device) {
  Parameter made;
  made.name = name;
  made.tensor = value.clone().to(device);
  made.has_decay = has_decay;
  return made;
}

OptimizerOptions options_of(const nlohmann::json& info) {
  OptimizerOptions options;
  options.name = info.at("optimizer");
  options.betas = {info.at("b1"), info.at("b2")};
  options.eps = info.at("eps");
  options.weight_decay = info.at("wd");
  return options;
}

void run_optimizer(const Case& reference, const nlohmann::json& info, Report& report) {
  const std::string name = info.at("name");
  const bool is_lamb = info.at("optimizer") == "lamb";
  const NamedTensors stored = read_all(reference.dir / (name + ".safetensors"));
  const std::vector<std::string> decayed =
      info.at(info.contains("weight_decay_on") ? "weight_decay_on" : "decay_and_trust_ratio_on");
  std::vector<Parameter> parameters;
  for (const std::string& key : names_with_prefix(stored, "param.0.")) {
    const bool has_decay = std::ranges::find(decayed, key) != decayed.end();
    parameters.push_back(parameter(key, stored.at("param.0." + key), has_decay, reference.device));
  }
  Trainee trainee(std::move(parameters), options_of(info));
  const double tolerance = is_lamb ? 2e-6 : 1e-6;
  const auto compare = [&](const std::string& key, const at::Tensor& ours) {
    const auto found = stored.find(key);
    if (found == stored.end()) return;
    report.compare_values(name + ":" + key, ours, found->second, Bound{tolerance, tolerance});
  };
  for (std::int64_t step = 1; step <= info.at("steps").get<std::int64_t>(); ++step) {
    for (const std::string& key : trainee.names()) {
      trainee.set_gradient(key, stored.at(fmt::format("grad.{}.{}", step, key)));
    }
    trainee.step(stored.at("lr")[step - 1].item<double>(), 0.0);
    for (const std::string& key : trainee.names()) {
      for (const char* kind : {"param", "param_f64"}) {
        compare(fmt::format("{}.{}.{}", kind, step, key), trainee.value(key));
      }
    }
  }
  for (const std::string& key : trainee.names()) {
    for (const char* suffix : {"", "_f64"}) {
      compare(fmt::format("exp_avg{}.{}", suffix, key), trainee.moment(key, 0));
      compare(fmt::format("exp_avg_sq{}.{}", suffix, key), trainee.moment(key, 1));
    }
  }
}

void run_clip(const NamedTensors& stored, const std::string& name, at::Device device,
              Report& report) {
  const std::string prefix = name + ".grad.";
  std::vector<Parameter> parameters;
  for (const std::string& key : names_with_prefix(stored, prefix)) {
    parameters.push_back(parameter(key, stored.at(prefix + key), true, device));
  }
  Trainee trainee(std::move(parameters), OptimizerOptions{});
  for (const std::string& key : trainee.names()) {
    trainee.set_gradient(key, stored.at(prefix + key));
  }
  const double norm = trainee.gradient_norm();
  for (const char* suffix : {"", "_f64"}) {
    const std::string key = name + ".total_norm" + suffix;
    report.compare_value(key, norm, stored.at(key).item<double>(), kNorm);
  }
  const double factor = clip_factor(norm, stored.at(name + ".max_norm").item<double>());
  for (const std::string& key : trainee.names()) {
    const std::string clipped = name + ".clipped." + key;
    report.compare_values(clipped, stored.at(prefix + key) * factor, stored.at(clipped), kClipped);
  }
}

bool is_optim(const Case& reference) {
  return reference.info.contains("cases") || reference.info.contains("clip");
}

void run_optim(Case& reference, Report& report) {
  for (const auto& info : reference.info.value("cases", nlohmann::json::array())) {
    run_optimizer(reference, info, report);
  }
  if (!reference.info.contains("clip")) return;
  const NamedTensors clip = read_all(reference.dir / "clip.safetensors");
  for (const auto& info : reference.info.at("clip")) {
    run_clip(clip, info.at("name"), reference.device, report);
  }
}

}  // namespace

Runners optim_runners() { return {{.name = "optim", .fits = is_optim, .run = run_optim}}; }

}  // namespace kiln::parity
