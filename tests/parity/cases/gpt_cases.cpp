#include <fmt/format.h>

#include "models/gpt/gpt.h"
#include "models/gpt/gpt_names.h"
#include "models/gpt/sampling.h"
#include "tests/parity/runners.h"
#include "tests/parity/trainee.h"

// B samples, L tokens, D width, O tokens to predict.

namespace kiln::parity {
namespace {

Gpt make_gpt(const Case& reference, const GptShape& shape, const at::TensorOptions& options) {
  Gpt gpt(shape, options);
  load_tensors(gpt, gpt_to_ours(shape, reference.weights, reference.name), reference.name);
  return gpt;
}

/// Gradients of `loss` under the names of the case's files.
NamedTensors gradients(const Gpt& gpt, const at::Tensor& loss) {
  NamedTensors ours;
  std::vector<at::Tensor> tensors;
  const std::vector<Parameter> parameters = gpt_parameters(gpt);
  for (const Parameter& parameter : parameters) tensors.push_back(parameter.tensor);
  const auto found = torch::autograd::grad({loss}, tensors);
  for (std::size_t i = 0; i < found.size(); ++i) ours[parameters[i].name] = found[i];
  return gpt_to_theirs(gpt.shape, ours);
}

// --- image GPT ----------------------------------------------------------------------------------

GptShape image_shape(const Case& reference) {
  const auto& config = reference.config;
  GptShape shape;
  shape.vocab_size = config.at("vocab_size");
  shape.num_outputs = shape.vocab_size - 1;  // all but the start token
  shape.max_positions = config.at("n_positions");
  shape.dim = config.at("n_embd");
  shape.depth = config.at("n_layer");
  shape.heads = config.at("n_head");
  shape.norm_eps = config.at("layer_norm_epsilon");
  return shape;
}

/// Both objectives up to the loss of each token; returns those losses [B, L].
at::Tensor compare_image_gpt(const Gpt& gpt, const Case& reference, const at::Tensor& input,
                             const at::Tensor& masked, Report& report) {
  const bool is_causal = !masked.defined();
  DropoutStream none;
  const at::Tensor embedded = gpt.embed(input, masked, none);
  at::Tensor x = embedded;
  for (std::size_t i = 0; i < gpt.blocks.size(); ++i) {
    x = gpt.blocks[i]->forward(x, is_causal, none);
    if (i + 1 < gpt.blocks.size()) report.compare(fmt::format("act.h.{}", i), x);
  }
  report.compare("act.ln_f", gpt.norm->forward(x));
  report.compare("features", gpt.middle(embedded, is_causal).mean(1));
  const at::Tensor logits = gpt.logits(gpt.mix(embedded, is_causal, none));
  report.compare("logits", logits);
  const at::Tensor losses = token_losses(logits, reference.at("tokens"));
  report.compare("nll", losses);
  return losses;
}

void run_igpt(Case& reference, Report& report) {
  const Gpt gpt = make_gpt(reference, image_shape(reference), reference.options());
  const at::Tensor& tokens = reference.at("tokens");
  const at::Tensor start = at::full({tokens.size(0), 1}, gpt.shape.num_outputs, tokens.options());
  const at::Tensor loss =
      compare_image_gpt(gpt, reference, shifted(start, tokens), {}, report).mean();
  report.compare("loss", loss);
  for (const auto& [name, gradient] : gradients(gpt, loss)) {
    if (!name.ends_with(".bias")) report.compare("grad." + name, gradient);  // there are none
  }
}

void run_igpt_bert(Case& reference, Report& report) {
  const Gpt gpt = make_gpt(reference, image_shape(reference), reference.options());
  const at::Tensor masked = reference.at("mask").to(at::kBool);
  const at::Tensor losses =
      compare_image_gpt(gpt, reference, reference.at("tokens"), masked, report) * masked;
  const at::Tensor per_sample = losses.sum(1) / masked.sum(1);
  report.compare("loss_per_sample", per_sample);
  report.compare("loss_global", losses.sum() / masked.sum());
  const at::Tensor loss = per_sample.mean();
  report.compare("loss", loss);
  for (const auto& [name, gradient] : gradients(gpt, loss)) {
    if (!name.ends_with(".bias")) report.compare("grad." + name, gradient);
  }
}

// --- the second stage of VQGAN ------------------------------------------------------------------

GptShape code_shape(const nlohmann::json& settings) {
  GptShape shape;
  shape.form = GptForm::kMini;
  shape.vocab_size = shape.num_outputs = settings.at("vocab");
  shape.max_positions = settings.at("block");
  shape.dim = settings.at("dim");
  shape.depth = settings.at("depth");
  shape.heads = settings.at("heads");
  return shape;
}

struct Prediction {
  at::Tensor logits, loss;
};
/// Scores of all indices z, given the condition and the indices before them, of which the network
/// sees `seen`.
Prediction predict(const Gpt& gpt, const at::Tensor& condition, const at::Tensor& z,
                   const at::Tensor& seen) {
  DropoutStream none;
  const std::int64_t L = z.size(1);
  const at::Tensor input = at::cat({condition, seen.narrow(1, 0, L - 1)}, 1);
  const at::Tensor x = gpt.mix(gpt.embed(input, {}, none), /*is_causal=*/true, none);
  const at::Tensor logits = gpt.logits(x.narrow(1, condition.size(1) - 1, L));
  return {logits, token_losses(logits, z).mean()};
}

void compare_prediction(const std::string& name, const Prediction& ours, Report& report) {
  report.compare(name + ".logits", ours.logits);
  report.compare(name + ".loss", ours.loss);
}

void compare_sampling(const Gpt& gpt, const Case& reference, const nlohmann::json& settings,
                      Report& report) {
  const at::NoGradGuard no_grad;
  const std::int64_t given = settings.at("prefix"), greedy = settings.at("greedy");
  const at::Tensor prefix =
      at::cat({reference.at("class"), reference.at("z").narrow(1, 0, given)}, 1);
  auto caches = gpt.make_caches(prefix.size(0), prefix.size(1));
  const at::Tensor logits = gpt.next_logits(prefix, caches);
  report.compare("sample.logits", logits);
  const auto& pairs = settings.at("sampling");
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const TokenSampling sampling{.temperature = pairs[i][1], .top_k = pairs[i][0]};
    report.compare(fmt::format("sample.probs.{}", i), token_probabilities(logits, sampling));
  }
  const at::Tensor likeliest =
      generate_tokens(gpt, prefix, greedy, {.top_k = 1}, /*seed=*/1, /*first_sample=*/0);
  report.compare(
      "sample.greedy",
      at::cat({reference.at("z").narrow(1, 0, given), likeliest.to(prefix.device())}, 1));
}

void compare_steps(const Case& reference, const nlohmann::json& settings, Report& report) {
  const Gpt gpt = make_gpt(reference, code_shape(settings), reference.options().dtype(at::kFloat));
  OptimizerOptions options;
  options.betas = settings.at("betas").get<std::vector<double>>();
  options.eps = settings.at("eps");
  options.weight_decay = settings.at("weight_decay");
  Trainee trainee(gpt_parameters(gpt), options);
  std::vector<double> losses, norms;
  for (int step = 1; step <= settings.at("steps").get<int>(); ++step) {
    trainee.zero_gradients();
    const at::Tensor& z = reference.at(fmt::format("step{}.z", step));
    const at::Tensor loss =
        predict(gpt, reference.at(fmt::format("step{}.class", step)), z, z).loss;
    loss.backward();
    losses.push_back(loss.item<double>());
    norms.push_back(trainee.gradient_norm());
    trainee.step(settings.at("lr"), /*clip_norm=*/0.0);
  }
  report.compare("losses", at::tensor(losses, at::kDouble));
  report.compare("grad_norms", at::tensor(norms, at::kDouble));
  for (const auto& [name, weight] : gpt_to_theirs(gpt.shape, named_tensors(gpt))) {
    report.compare("final." + name, weight);
  }
}

void run_vqgan_transformer(Case& reference, Report& report) {
  const auto& settings = reference.info.at("settings");
  const Gpt gpt = make_gpt(reference, code_shape(settings), reference.options());
  const at::Tensor &z = reference.at("z"), &classes = reference.at("class");
  const auto compare_gradients = [&](const std::string& prefix, const at::Tensor& loss) {
    for (const auto& [name, gradient] : gradients(gpt, loss)) {
      report.compare(prefix + name, gradient);
    }
  };
  const Prediction by_class = predict(gpt, classes, z, z);
  compare_prediction("class", by_class, report);
  compare_gradients("grad.", by_class.loss);
  const at::Tensor start = at::full_like(classes, settings.at("sos").get<std::int64_t>());
  compare_prediction("sos", predict(gpt, start, z, z), report);
  const Prediction by_tokens = predict(gpt, reference.at("condition"), z, z);
  compare_prediction("long", by_tokens, report);
  compare_gradients("long.grad.", by_tokens.loss);
  const at::Tensor seen = at::where(reference.at("keep").to(at::kBool), z, reference.at("random"));
  compare_prediction("pkeep", predict(gpt, classes, z, seen), report);
  compare_sampling(gpt, reference, settings, report);
  compare_steps(reference, settings, report);
}

}  // namespace

Runners gpt_runners() {
  return {{.name = "igpt", .config_class = "ImageGPTForCausalImageModeling", .run = run_igpt},
          {.name = "igpt_bert", .run = run_igpt_bert},
          {.name = "vqgan_transformer",
           .config_class = "VQGANTransformer",
           .run = run_vqgan_transformer}};
}

}  // namespace kiln::parity
