#include "tests/parity/runners.h"

#include <fmt/ranges.h>

#include <set>

#include "core/base/error.h"
#include "tests/parity/families.h"

namespace kiln::parity {
namespace {

Runners all_runners() {
  Runners all;
#define KILN_ADD_FAMILY(NAME) \
  for (Runner & runner : NAME##_runners()) all.push_back(std::move(runner));
  KILN_PARITY_FAMILIES(KILN_ADD_FAMILY)
#undef KILN_ADD_FAMILY
  return all;
}

/// Empty where the case does not say.
std::string name_of(const Case& reference) {
  return reference.is_golden ? reference.name : reference.info.value("runner", "");
}

std::string config_class_of(const Case& reference) {
  const nlohmann::json& config = reference.config;
  if (config.contains("_class_name")) return config["_class_name"];
  const bool has_list = config.contains("architectures") && !config["architectures"].empty();
  return has_list ? config["architectures"][0].get<std::string>() : "";
}

bool is_of(const Runner& runner, const Case& reference) {
  const std::string name = name_of(reference);
  if (!name.empty()) return runner.name == name;
  if (runner.fits) return runner.fits(reference);
  return !runner.config_class.empty() && runner.config_class == config_class_of(reference);
}

}  // namespace

Runner find_runner(const Case& reference) {
  const bool is_training = reference.info.contains("steps");
  std::set<std::string> names;
  for (const Runner& runner : all_runners()) {
    names.insert(runner.name);
    if (is_of(runner, reference) && runner.is_training == is_training) return runner;
  }
  throw usage_error("{}: no runner for '{}'{}; there are {}", reference.dir.string(),
                    name_of(reference), is_training ? " with training steps" : "",
                    fmt::join(names, ", "));
}

}  // namespace kiln::parity
