#include "core/training/phase_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/optimizer/optimizer.h"
#include "core/schedule/value_schedules.h"

namespace kiln {
namespace {

std::vector<std::string> names_of(const std::vector<Phase>& phases) {
  std::vector<std::string> names;
  for (const Phase& phase : phases) names.push_back(phase.name);
  return names;
}

/// A problem for each table in [section] that is none of `known`.
void refuse_others(RecipeReader& reader, const std::string& section, const std::string& what,
                   const std::vector<std::string>& known) {
  for (const std::string& name : reader.tables(section)) {
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string full = section + "." + name;
    reader.settle(full);
    reader.problem(unknown_name(fmt::format("[{}]: {}", full, what), name, known));
  }
}

template <typename T>
void choose(T& value, const std::optional<T>& over) {
  if (over) value = *over;
}

void apply(const OptimizerOverrides& over, double base_lr, PhaseSettings& settings) {
  choose(settings.optimizer.name, over.name);
  if (over.lr_factor) settings.optimizer.lr = *over.lr_factor * base_lr;
  if (over.lr) settings.optimizer.lr = over.lr;
  choose(settings.optimizer.betas, over.betas);
  choose(settings.optimizer.eps, over.eps);
  choose(settings.optimizer.weight_decay, over.weight_decay);
  choose(settings.optimizer.momentum, over.momentum);
  choose(settings.optimizer.rate_in_momentum, over.rate_in_momentum);
  choose(settings.optimizer.trust_coefficient, over.trust_coefficient);
  choose(settings.clip_norm, over.clip_norm);
  if (over.clip) settings.clips_tensors = *over.clip == "tensor";
  if (over.weight_decay) settings.has_own_decay = true;
}

std::vector<std::string> problems_of(const std::string& phase, const OptimizerOverrides& over) {
  std::vector<std::string> found;
  const auto one_of = [&](const char* key, const std::optional<std::string>& value,
                          const std::vector<std::string>& known) {
    if (value && std::ranges::find(known, *value) == known.end()) {
      found.push_back(unknown_name(fmt::format("optimizer.{}.{}", phase, key), *value, known));
    }
  };
  one_of("name", over.name, Optimizer::names());
  one_of("clip", over.clip, {"global", "tensor"});
  if (over.lr && over.lr_factor) {
    found.push_back(fmt::format("give one of optimizer.{0}.lr and optimizer.{0}.lr_factor", phase));
  }
  if (over.betas && over.betas->size() != 2) {
    found.push_back(fmt::format("optimizer.{}.betas should be two numbers", phase));
  }
  if (over.clip_norm && !(*over.clip_norm >= 0)) {
    found.push_back(
        fmt::format("optimizer.{}.clip_norm = {} should be at least 0", phase, *over.clip_norm));
  }
  return found;
}

void read_phases(RecipeReader& reader, Recipe& recipe, const std::vector<Phase>& phases) {
  const std::vector<std::string> given = reader.tables("optimizer");
  for (const Phase& phase : phases) {
    // A model of one phase has [optimizer]; the section is there all the same.
    if (phases.size() == 1 && std::ranges::find(given, phase.name) == given.end()) continue;
    OptimizerOverrides& over = recipe.phases[phase.name];
    reader.read("optimizer." + phase.name, over);
    for (const std::string& problem : problems_of(phase.name, over)) reader.problem(problem);
  }
  refuse_others(reader, "optimizer", "phase of this model", names_of(phases));
}

/// Of several keys that mean the same, one that the recipe gives drives out the default's.
void drop_defaults(const RecipeReader& reader, const std::string& section, const std::string& group,
                   std::optional<double>& samples, std::optional<double>& steps,
                   std::optional<double>& epochs) {
  const bool is_given = reader.has(section, group + "_samples") ||
                        reader.has(section, group + "_steps") ||
                        reader.has(section, group + "_epochs");
  if (is_given) samples = steps = epochs = std::nullopt;
}

void read_schedules(RecipeReader& reader, Recipe& recipe, std::vector<NamedSchedule> schedules) {
  const std::vector<std::string> given = reader.tables("schedule");
  const bool is_declared =
      std::ranges::find(schedules, kWeightDecay, &NamedSchedule::name) != schedules.end();
  if (!is_declared && std::ranges::find(given, kWeightDecay) != given.end()) {
    schedules.push_back({kWeightDecay, {.start = recipe.optimizer.weight_decay}});
  }
  std::vector<std::string> names;
  for (const NamedSchedule& schedule : schedules) {
    const std::string section = "schedule." + schedule.name;
    ValueScheduleOptions options = schedule.options;
    drop_defaults(reader, section, "warmup", options.warmup_samples, options.warmup_steps,
                  options.warmup_epochs);
    drop_defaults(reader, section, "duration", options.duration_samples, options.duration_steps,
                  options.duration_epochs);
    reader.read(section, options);
    for (const std::string& problem : problems_of(schedule.name, options)) reader.problem(problem);
    recipe.schedules[schedule.name] = options;
    names.push_back(schedule.name);
  }
  if (!is_declared) names.emplace_back(kWeightDecay);
  refuse_others(reader, "schedule", "value that this model schedules", names);
}

}  // namespace

void read_phase_sections(RecipeReader& reader, Recipe& recipe, const Objective& objective) {
  read_phases(reader, recipe, objective.phases());
  read_schedules(reader, recipe, objective.schedules());
}

std::vector<PhaseSettings> phase_settings(const Recipe& recipe, const std::vector<Phase>& phases,
                                          double base_lr) {
  const std::vector<std::string> names = names_of(phases);
  for (const auto& [name, over] : recipe.phases) {
    if (std::ranges::find(names, name) == names.end()) {
      throw usage_error("{}", unknown_name("phase of this model", name, names));
    }
    const std::vector<std::string> problems = problems_of(name, over);
    if (!problems.empty()) throw usage_error("{}", problems.front());
  }
  std::vector<PhaseSettings> all;
  for (const Phase& phase : phases) {
    PhaseSettings settings{.name = phase.name,
                           .optimizer = recipe.optimizer,
                           .clip_norm = recipe.train.clip_norm,
                           .clips_tensors = recipe.train.clip == "tensor"};
    settings.optimizer.lr = base_lr;
    apply(phase.optimizer, base_lr, settings);
    const auto over = recipe.phases.find(phase.name);
    if (over != recipe.phases.end()) apply(over->second, base_lr, settings);
    all.push_back(std::move(settings));
  }
  return all;
}

}  // namespace kiln
