#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "models/diffusion/samplers.h"
#include "tests/parity/runners.h"

// Noise schedules, single sampling steps and whole trajectories with stored network outputs.

namespace kiln::parity {
namespace {

using nlohmann::json;

// parity/README.md: tables 1e-12 of the largest magnitude, single steps 2e-6, trajectories and
// estimates of x0 1e-5.
constexpr Bound kTable{0.0, 1e-12}, kStep{0.0, 2e-6}, kTrajectory{0.0, 1e-5};

class Values {
 public:
  Values(const Case& reference, const char* file)
      : tensors_(read_all(reference.dir / file)), type_(reference.type) {}
  const at::Tensor& at(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw data_error("schedulers: no tensor '{}'", name);
    return found->second;
  }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  at::Tensor input(const std::string& name) const { return at(name).to(type_); }

 private:
  NamedTensors tensors_;
  at::ScalarType type_;
};

at::Tensor table(const BetaSchedule& schedule, double (*entry)(const BetaSchedule&, std::int64_t)) {
  std::vector<double> values;
  for (std::int64_t t = 0; t < schedule.size(); ++t) values.push_back(entry(schedule, t));
  return at::tensor(values, at::kDouble);
}

Posterior previous_posterior(const BetaSchedule& s, std::int64_t t) {
  return posterior(s.level(t), s.level(t - 1));
}

std::string our_schedule(const std::string& name) {
  return name == "squaredcos_cap_v2" ? "cosine" : name;
}

void run_tables(const Case& reference, Report& report) {
  const Values values(reference, "schedules.safetensors");
  for (const auto& item : reference.info["settings"]["schedules.safetensors"].items()) {
    const std::string name = item.key();
    const json& setting = item.value();
    const BetaSchedule s = make_beta_schedule(our_schedule(name), setting["beta_start"],
                                              setting["beta_end"], setting["num_train_timesteps"]);
    const auto compare = [&](const char* what, const at::Tensor& ours) {
      const std::string key = fmt::format("{}.{}_f64", name, what);
      report.compare_values(key, ours, values.at(key), kTable);
    };
    compare("betas", at::tensor(s.betas, at::kDouble));
    compare("alphas_cumprod", at::tensor(s.alphas_cumprod, at::kDouble));
    compare("posterior_variance", table(s, [](const BetaSchedule& b, std::int64_t t) {
              return previous_posterior(b, t).variance;
            }));
    compare("posterior_log_variance_clipped", table(s, posterior_log_variance_clipped));
    compare("posterior_mean_coef_x0", table(s, [](const BetaSchedule& b, std::int64_t t) {
              return previous_posterior(b, t).from_x0;
            }));
    compare("posterior_mean_coef_xt", table(s, [](const BetaSchedule& b, std::int64_t t) {
              return previous_posterior(b, t).from_x;
            }));
    compare("snr",
            table(s, [](const BetaSchedule& b, std::int64_t t) { return b.level(t).snr(); }));
    const std::string prefix = name + ".add_noise.";
    const at::Tensor x0 = values.input(prefix + "x0"), noise = values.input(prefix + "noise");
    const at::Tensor& times = values.at(prefix + "timesteps");
    std::vector<at::Tensor> noised, velocity;
    for (std::int64_t i = 0; i < times.numel(); ++i) {
      const NoiseLevel level = s.level(times[i].item<std::int64_t>());
      const Target v = v_target(level);
      noised.push_back(x0[i] * level.signal + noise[i] * level.noise);
      velocity.push_back(x0[i] * v.data + noise[i] * v.noise);
    }
    report.compare_values(prefix + "x_t", at::stack(noised), values.at(prefix + "x_t"), kStep);
    report.compare_values(prefix + "velocity", at::stack(velocity), values.at(prefix + "velocity"),
                          kStep);
  }
  if (!values.has("zero_snr.betas")) return;
  const json& scaled = reference.info["settings"]["schedules.safetensors"]["scaled_linear"];
  const BetaSchedule zero = with_zero_terminal_snr(make_beta_schedule(
      "scaled_linear", scaled["beta_start"], scaled["beta_end"], scaled["num_train_timesteps"]));
  // Stored in the library's float32 alone, whose last steps are ratios of differences of nearly
  // equal numbers.
  report.compare_values("zero_snr.betas", at::tensor(zero.betas, at::kDouble),
                        values.at("zero_snr.betas"), Bound{0.0, 2e-5});
  report.compare_values("zero_snr.alphas_cumprod", at::tensor(zero.alphas_cumprod, at::kDouble),
                        values.at("zero_snr.alphas_cumprod"), Bound{0.0, 2e-6});
}

/// Length of the chain that is respaced.
std::int64_t chain_length(const json& setting) {
  return setting.value("num_train_timesteps", std::int64_t{1000});
}

std::unique_ptr<Formulation> ddpm(const json& setting, bool is_learned = false) {
  FormulationOptions options;
  options.timesteps = chain_length(setting);
  options.beta_schedule = our_schedule(setting["beta_schedule"]);
  options.beta_start = setting.value("beta_start", 1e-4);
  options.beta_end = setting.value("beta_end", 0.02);
  const std::string prediction = setting.value("prediction_type", "epsilon");
  options.prediction = prediction == "sample"         ? "x0"
                       : prediction == "v_prediction" ? "v"
                                                      : "epsilon";
  options.learn_variance = is_learned;
  return make_formulation(options);
}

Estimate estimate(const Formulation& formulation, const at::Tensor& x, const at::Tensor& output,
                  const NoiseLevel& level) {
  const Inversion back = invert(level, formulation.target(level));
  return {
      x * back.x0_from_x + output * back.x0_from_f, x * back.n_from_x + output * back.n_from_f, {}};
}

void run_ddpm_steps(const Case& reference, Report& report) {
  const Values values(reference, "ddpm_step.safetensors");
  for (const json& setting : reference.info["settings"]["ddpm_step.safetensors"]) {
    const std::string name = setting["name"];
    const std::string variance = setting["variance_type"];
    const bool is_learned = variance == "learned_range";
    const auto formulation = ddpm(setting, is_learned);
    const std::int64_t t = setting["t"];
    const std::int64_t previous = setting["previous_t"];
    const NoiseLevel level = formulation->level(static_cast<double>(t));
    const NoiseLevel cleaner = formulation->chain()->level(previous);
    const at::Tensor x = values.input(name + ".sample");
    at::Tensor output = values.input(name + ".model_output");
    at::Tensor fraction;
    if (is_learned) {
      const auto halves = output.chunk(2, 1);
      output = halves[0];
      fraction = (halves[1] + 1.0) * 0.5;
    }
    Estimate e = estimate(*formulation, x, output, level);
    if (is_learned) e.variance_fraction = fraction;
    if (setting["clip_sample"].get<bool>()) e.x0 = e.x0.clamp(-1.0, 1.0);
    const at::Tensor x_previous = ddpm_step(x, e, level, cleaner, is_learned ? "learned" : variance,
                                            values.input(name + ".noise"));
    report.compare_values(name + ".pred_x0", e.x0, values.at(name + ".pred_x0_f64"), kTrajectory);
    report.compare_values(name + ".prev_sample", x_previous, values.at(name + ".prev_sample_f64"),
                          kStep);

    const auto times =
        spaced_timesteps(setting["timestep_spacing"], chain_length(setting),
                         setting["num_inference_steps"], setting.value("steps_offset", 0));
    const std::string key = name.substr(0, name.find('.')) + ".timesteps";
    if (!values.has(key)) continue;
    report.compare_values(key, at::tensor(times, at::kLong), values.at(key), Bound{});
  }
}

/// Follows a trajectory whose network outputs are stored, whatever x is.
at::Tensor follow(const SamplerOptions& options, const Formulation& formulation,
                  const Trajectory& nodes, const std::string& name, const Values& values) {
  const at::Tensor outputs = values.input(name + ".model_outputs");
  std::int64_t step = 0, draw = 0;
  const Denoise denoise = [&](const at::Tensor& x, const Node& node) {
    return estimate(formulation, x, outputs[step++], node.level);
  };
  const NoiseSource noise = [&](std::int64_t) { return values.input(name + ".noise")[draw++]; };
  return sample_along(options, nodes, values.input(name + ".samples")[0], denoise, noise);
}

/// The noise levels of a trajectory, and where it ends.
void compare_trajectory(const SamplerOptions& options, const Formulation& formulation,
                        const Trajectory& nodes, const std::string& name, const Values& values,
                        Report& report) {
  std::vector<double> sigmas;
  for (const Node& node : nodes) sigmas.push_back(node.level.noise);
  report.compare_values(name + ".sigmas", at::tensor(sigmas, at::kDouble),
                        values.at(name + ".sigmas_f64"), kTable);
  report.compare_values(name + ".final", follow(options, formulation, nodes, name, values),
                        values.at(name + ".final_f64"), kTrajectory);
}

/// The timesteps to which diffusers goes: always T / steps back from a timestep, even where the
/// next one of the spacing is another. Our sampler goes to the next one.
std::vector<std::int64_t> published_targets(const json& setting, const Trajectory& nodes) {
  const std::int64_t back =
      chain_length(setting) / setting["num_inference_steps"].get<std::int64_t>();
  std::vector<std::int64_t> targets;
  for (std::size_t i = 0; i + 1 < nodes.size(); ++i) {
    targets.push_back(static_cast<std::int64_t>(nodes[i].time) - back);
  }
  return targets;
}

bool are_next_nodes(const std::vector<std::int64_t>& targets, const Trajectory& nodes) {
  for (std::size_t i = 0; i + 1 < targets.size(); ++i) {
    if (targets[i] != static_cast<std::int64_t>(nodes[i + 1].time)) return false;
  }
  return targets.back() < 0;  // and so to the end
}

at::Tensor ddim_as_published(const SamplerOptions& options, const Formulation& formulation,
                             const Trajectory& nodes, const std::vector<std::int64_t>& targets,
                             const std::string& name, const Values& values) {
  const at::Tensor outputs = values.input(name + ".model_outputs");
  at::Tensor x = values.input(name + ".samples")[0];
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const NoiseLevel target =
        targets[i] < 0 ? nodes.back().level : formulation.chain()->level(targets[i]);
    const auto step = static_cast<std::int64_t>(i);
    Estimate e = estimate(formulation, x, outputs[step], nodes[i].level);
    if (options.clip > 0.0) e.x0 = e.x0.clamp(-options.clip, options.clip);
    const at::Tensor noise =
        options.eta > 0.0 ? values.input(name + ".noise")[step] : at::zeros_like(x);
    x = ddim_step(e, nodes[i].level, target, options.eta, noise);
  }
  return x;
}

void run_ddim(const Case& reference, Report& report) {
  const Values values(reference, "ddim_step.safetensors");
  for (const json& setting : reference.info["settings"]["ddim_step.safetensors"]) {
    const std::string name = setting["name"];
    const auto formulation = ddpm(setting);
    SamplerOptions options;
    options.sampler = "ddim";
    options.eta = setting["eta"];
    options.clip = setting["clip_sample"].get<bool>() ? 1.0 : 0.0;
    const Trajectory nodes = formulation->trajectory({.steps = setting["num_inference_steps"],
                                                      .spacing = setting["timestep_spacing"],
                                                      .steps_offset = setting["steps_offset"],
                                                      .end_clean = setting["set_alpha_to_one"]});
    std::vector<std::int64_t> times;
    for (std::size_t i = 0; i + 1 < nodes.size(); ++i) {
      times.push_back(static_cast<std::int64_t>(nodes[i].time));
    }
    report.compare_values(name + ".timesteps", at::tensor(times, at::kLong),
                          values.at(name + ".timesteps"), Bound{});
    const std::vector<std::int64_t> targets = published_targets(setting, nodes);
    report.compare_values(
        name + ".final",
        are_next_nodes(targets, nodes)
            ? follow(options, *formulation, nodes, name, values)
            : ddim_as_published(options, *formulation, nodes, targets, name, values),
        values.at(name + ".final_f64"), kTrajectory);
  }
}

std::unique_ptr<Formulation> edm(const json& setting) {
  FormulationOptions options;
  options.formulation = "edm";
  options.weighting = "edm";
  options.sigma_data = setting["sigma_data"];
  options.sigma_min = setting.value("sigma_min", options.sigma_min);
  options.sigma_max = setting.value("sigma_max", options.sigma_max);
  options.log_sigma_mean = setting.value("P_mean", options.log_sigma_mean);
  options.log_sigma_std = setting.value("P_std", options.log_sigma_std);
  return make_formulation(options);
}

void run_edm_training(const json& setting, const Values& values, Report& report) {
  const auto formulation = edm(setting);
  const at::Tensor x0 = values.at("train.x0").to(at::kDouble);
  const at::Tensor noise = values.at("train.noise").to(at::kDouble);
  const at::Tensor output = values.at("train.raw_model_output").to(at::kDouble);
  const at::Tensor& sigma = values.at("train.sigma_f64");
  std::map<std::string, std::vector<double>> rows;
  std::vector<at::Tensor> denoised, inputs, losses;
  for (std::int64_t i = 0; i < sigma.numel(); ++i) {
    const NoiseLevel level = formulation->level(sigma[i].item<double>());
    const Target target = formulation->target(level);
    const Inversion back = invert(level, target);
    const at::Tensor x = x0[i] * level.signal + noise[i] * level.noise;
    rows["c_in"].push_back(formulation->input_scale(level));
    rows["c_noise"].push_back(formulation->network_time(level.noise));
    rows["c_skip"].push_back(back.x0_from_x);
    rows["c_out"].push_back(back.x0_from_f);
    rows["weight"].push_back(formulation->weight(level) / (back.x0_from_f * back.x0_from_f));
    inputs.push_back(x * formulation->input_scale(level));
    denoised.push_back(x * back.x0_from_x + output[i] * back.x0_from_f);
    const at::Tensor wanted = x0[i] * target.data + noise[i] * target.noise;
    losses.push_back((output[i] - wanted).square().mean() * formulation->weight(level));
  }
  const auto compare = [&](const std::string& what, const at::Tensor& ours) {
    report.compare_values("train." + what, ours, values.at("train." + what + "_f64"),
                          Bound{0.0, 1e-10});
  };
  for (const auto& [what, row] : rows) compare(what, at::tensor(row, at::kDouble));
  compare("scaled_input", at::stack(inputs));
  compare("denoised", at::stack(denoised));
  compare("loss_per_sample", at::stack(losses));
  compare("loss", at::stack(losses).mean());
}

void run_edm(const Case& reference, Report& report) {
  const Values values(reference, "edm.safetensors");
  const json& settings = reference.info["settings"]["edm.safetensors"];
  for (const json& setting : settings["sampler"]) {
    const std::string name = setting["name"];
    const auto formulation = edm(setting);
    SamplerOptions options;
    options.sampler = "euler";
    const Trajectory nodes =
        formulation->trajectory({.steps = setting["num_inference_steps"], .rho = setting["rho"]});
    compare_trajectory(options, *formulation, nodes, name, values, report);
  }
  if (settings.contains("train")) run_edm_training(settings["train"], values, report);
}

void run_flow(const Case& reference, Report& report) {
  const Values values(reference, "flow_match_euler.safetensors");
  for (const json& setting : reference.info["settings"]["flow_match_euler.safetensors"]) {
    const std::string name = setting["name"];
    FormulationOptions choice;
    choice.formulation = "flow";
    choice.shift = setting["shift"];
    const auto formulation = make_formulation(choice);
    SamplerOptions options;
    options.sampler = "flow_euler";
    const Trajectory nodes =
        formulation->trajectory({.steps = setting["num_inference_steps"], .spacing = "linspace"});
    compare_trajectory(options, *formulation, nodes, name, values, report);
  }
  if (!values.has("train.x0")) return;
  const at::Tensor x0 = values.input("train.x0"), noise = values.input("train.noise");
  const at::Tensor sigma = values.input("train.sigma").view({-1, 1, 1, 1});
  const Target target = velocity_target();
  const at::Tensor wanted = x0 * target.data + noise * target.noise;
  report.compare_values("train.x_t", x0 * (1.0 - sigma) + noise * sigma, values.at("train.x_t"),
                        kStep);
  report.compare_values("train.target", wanted, values.at("train.target"), kStep);
  report.compare_values("train.loss", (values.input("train.model_output") - wanted).square().mean(),
                        values.at("train.loss"), kStep);
}

void run_dpm_solver(const Case& reference, Report& report) {
  const Values values(reference, "dpmsolver_2m.safetensors");
  for (const json& setting : reference.info["settings"]["dpmsolver_2m.safetensors"]) {
    const std::string name = setting["name"];
    const auto formulation = ddpm(setting);
    const at::Tensor sigmas = values.at(name + ".sigmas").to(at::kDouble);
    Trajectory nodes;
    for (std::int64_t i = 0; i < sigmas.numel(); ++i) {
      const double sigma = sigmas[i].item<double>();
      const double signal = 1.0 / std::sqrt(1.0 + sigma * sigma);
      nodes.push_back({0.0, {signal, sigma * signal}});
    }
    SamplerOptions options;
    options.sampler = "dpm_solver";
    report.compare_values(name + ".final", follow(options, *formulation, nodes, name, values),
                          values.at(name + ".final_f64"), kTrajectory);
  }
}

struct Part {
  const char* file;
  void (*run)(const Case& reference, Report& report);
};
constexpr Part kParts[] = {
    {"schedules.safetensors", run_tables},      {"ddpm_step.safetensors", run_ddpm_steps},
    {"ddim_step.safetensors", run_ddim},        {"edm.safetensors", run_edm},
    {"flow_match_euler.safetensors", run_flow}, {"dpmsolver_2m.safetensors", run_dpm_solver}};

bool has_part(const Case& reference, const Part& part) {
  return reference.info.contains("settings") && reference.info["settings"].contains(part.file);
}

bool has_schedules(const Case& reference) {
  return std::ranges::any_of(kParts, [&](const Part& part) { return has_part(reference, part); });
}

void run_schedulers(Case& reference, Report& report) {
  for (const Part& part : kParts) {
    if (has_part(reference, part)) part.run(reference, report);
  }
}

}  // namespace

Runners scheduler_runners() {
  return {{.name = "schedulers", .fits = has_schedules, .run = run_schedulers}};
}

}  // namespace kiln::parity
