#include <fmt/format.h>

#include <fstream>

#include "models/diffusion/diffusion_names.h"
#include "models/diffusion/schedule.h"
#include "models/diffusion/variance_bound.h"
#include "tests/parity/runners.h"

// U-Nets and diffusion transformers.
//
// B samples, C channels, H x W pixels.

namespace kiln::parity {
namespace {

at::Tensor per_sample(const std::vector<double>& values, const at::Tensor& like) {
  return at::tensor(values, at::kDouble).to(like.options()).view({-1, 1, 1, 1});
}

/// sqrt(acp) x0 + sqrt(1 - acp) noise.
at::Tensor noised(const at::Tensor& x0, const at::Tensor& noise, const std::vector<double>& acp) {
  std::vector<double> signal, sigma;
  for (const double value : acp) {
    signal.push_back(std::sqrt(value));
    sigma.push_back(std::sqrt(1.0 - value));
  }
  return per_sample(signal, x0) * x0 + per_sample(sigma, x0) * noise;
}

std::vector<double> to_vector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kCPU, at::kDouble).contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

void compare_gradients(const DiffusionNetwork& network, const NameTable& table, Report& report) {
  NamedTensors ours;
  for (const Parameter& parameter : network.trainable())
    ours[parameter.name] = parameter.tensor.grad();
  for (const NameRule& rule : table) {
    if (rule.kind == NameRule::Kind::kCopies) {
      // Theirs is the gradient of each copy; ours, of the one, is compared as grad_shared.
      for (const std::string& name : rule.theirs) report.skip("grad." + name);
      continue;
    }
    for (const auto& [name, gradient] : to_theirs({rule}, ours)) {
      report.compare("grad." + name, gradient);
    }
  }
}

void run_unet(Case& reference, Report& report) {
  const UNetShape shape = unet_shape_from_config(reference.config, reference.name);
  const NameTable table = unet_names(shape);
  UNet network(shape, reference.options());
  load_tensors(network, to_ours(table, reference.weights, reference.name), reference.name);

  const at::Tensor x0 = reference.input("x0"), noise = reference.input("noise");
  const at::Tensor x = noised(x0, noise, to_vector(reference.at("alphas_cumprod")));
  const at::Tensor& times = reference.at("timesteps");
  Conditioning conditioning;
  if (reference.has("encoder_hidden_states")) {
    conditioning.context = reference.input("encoder_hidden_states");
  }
  if (reference.has("class_labels")) conditioning.labels = reference.at("class_labels");
  report.compare("x_t", x);
  {
    const at::NoGradGuard no_grad;
    DropoutStream none;
    report.compare_if_stored("act.time_embedding", network.embed_time(times));
    UNet::State state = network.begin(times, conditioning);
    at::Tensor h = network.conv_in->forward(x);
    report.compare_if_stored("act.conv_in", h);
    state.skips.push_back(h);
    if (const UNetStage& first = network.down[0].stages[0]; first.transformer) {
      const at::Tensor inner = first.res->forward(h, state.time, none);
      report.compare_if_stored("act.down.0.attentions.0",
                               first.transformer->forward(inner, state.context));
    }
    for (std::size_t i = 0; i < network.down.size(); ++i) {
      report.compare_if_stored(fmt::format("act.down.{}", i),
                               h = network.run_down(network.down[i], h, state, none));
    }
    report.compare_if_stored("act.mid", h = network.run_middle(h, state, none));
    for (std::size_t i = 0; i < network.up.size(); ++i) {
      report.compare_if_stored(fmt::format("act.up.{}", i),
                               h = network.run_up(network.up[i], h, state, none));
    }
  }
  DropoutStream none;
  const at::Tensor prediction = network.forward(x, times, conditioning, none);
  const at::Tensor loss = (prediction - noise).square().mean();
  loss.backward();
  report.compare("pred", prediction);
  report.compare("loss", loss);
  compare_gradients(network, table, report);
}

void run_dit(Case& reference, Report& report) {
  const DitShape shape = dit_shape_from_config(reference.config, reference.name);
  const NameTable table = dit_names(shape);
  Dit network(shape, reference.options());
  load_tensors(network, to_ours(table, reference.weights, reference.name), reference.name);

  const BetaSchedule schedule = schedule_from_betas(to_vector(reference.at("betas_table")));
  const at::Tensor x0 = reference.input("x0"), noise = reference.input("noise");
  const at::Tensor& times = reference.at("timesteps");
  std::vector<double> acp;
  for (const double t : to_vector(times))
    acp.push_back(schedule.alphas_cumprod[static_cast<std::size_t>(t)]);
  const at::Tensor x = noised(x0, noise, acp);
  const Conditioning conditioning{.labels = reference.at("class_labels"), .context = {}};
  report.compare("x_t", x);
  {
    const at::NoGradGuard no_grad;
    at::Tensor tokens = network.embed(x);
    report.compare_if_stored("act.pos_embed", tokens);
    at::Tensor c = network.condition(times, conditioning);
    report.compare_if_stored("act.conditioning", c);
    c = at::silu(c);
    DropoutStream none;
    const DitBlock& first = *network.blocks[0];
    const at::Tensor input = first.first_input(tokens, first.modulation(c));
    report.compare_if_stored("act.block.0.norm1", input);
    report.compare_if_stored("act.block.0.attn1", first.attn->forward(input, {}, none));
    for (std::size_t i = 0; i < network.blocks.size(); ++i) {
      report.compare_if_stored(fmt::format("act.block.{}", i),
                               tokens = network.blocks[i]->forward(tokens, c));
    }
  }
  DropoutStream none;
  const at::Tensor out = network.forward(x, times, conditioning, none);
  report.compare("out", out);
  const at::Tensor epsilon = out.narrow(1, 0, shape.channels);
  const at::Tensor mse = (epsilon - noise).square().mean();
  at::Tensor loss = mse;
  if (shape.out_channels == 2 * shape.channels) {
    const VarianceBound bound(schedule);
    const at::Tensor v = out.narrow(1, shape.channels, shape.channels);
    std::vector<double> signal, sigma;
    for (const double value : acp) {
      signal.push_back(1.0 / std::sqrt(value));
      sigma.push_back(std::sqrt(1.0 / value - 1.0));
    }
    const at::Tensor x0_model = per_sample(signal, x) * x - per_sample(sigma, x) * epsilon.detach();
    const at::Tensor bits = bound({x0, x, x0_model, v, times});
    loss = mse + bits.mean() * reference.info["settings"]["vb_weight"].get<double>();
    report.compare("model_log_variance", bound.log_variance(v, times));
    report.compare("mse", mse);
    report.compare("vb_per_sample", bits);
  }
  loss.backward();
  report.compare("loss", loss);
  compare_gradients(network, table, report);
  report.compare_if_stored("grad_shared.timestep_embedder.linear_1.weight",
                           network.time_in->weight.grad());
  report.compare_if_stored("grad_shared.timestep_embedder.linear_1.bias",
                           network.time_in->bias.grad());
  report.compare_if_stored("grad_shared.timestep_embedder.linear_2.weight",
                           network.time_out->weight.grad());
  report.compare_if_stored("grad_shared.timestep_embedder.linear_2.bias",
                           network.time_out->bias.grad());
  report.compare_if_stored("grad_shared.class_embedder.embedding_table.weight",
                           network.class_table.grad());
}

Bound golden_bound(const Case& golden) {
  return golden.type == at::kDouble ? kFloat64Bound : Bound{2e-6, 2e-5};
}

nlohmann::json read_json(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return nlohmann::json::parse(stream);
}

/// Gradients at "name[element]", under the golden's names.
void compare_elements(const nlohmann::json& expected, const NamedTensors& gradients,
                      const Case& golden, Report& report) {
  // These come from finite differences: good to about nine digits, not more.
  const Bound bound{golden.type == at::kDouble ? 1e-9 : 2e-6,
                    golden.type == at::kDouble ? 1e-6 : 2e-5};
  for (const auto& [entry, value] : expected.items()) {
    const std::size_t bracket = entry.find('[');
    const std::int64_t element = std::stoll(entry.substr(bracket + 1));
    const at::Tensor flat = gradients.at(entry.substr(0, bracket)).reshape({-1});
    report.compare_value("grad." + entry, flat[element].item<double>(), value, bound);
  }
}

void compare_published_names(const Case& golden, const NameTable& table, const NamedTensors& ours,
                             Report& report) {
  const nlohmann::json keys = read_json(golden.dir / (golden.name + "_hf_keys.json"));
  std::size_t num_weights = 0;
  for (const auto& [name, shape] : keys.items()) num_weights += name.starts_with("__") ? 0 : 1;
  const auto exported = to_theirs(table, ours);
  report.expect(exported.size() == num_weights, "number of exported tensors");
  for (const auto& [name, value] : exported) {
    report.expect(keys.contains(name) && keys[name] == nlohmann::json(value.sizes().vec()),
                  "hf:" + name);
  }
}

NamedTensors golden_weights(const Case& golden) {
  NamedTensors weights;
  for (const auto& [name, tensor] : golden.tensors) {
    if (!name.starts_with("__")) weights[name] = tensor;
  }
  return weights;
}

void run_tiny_dit(Case& golden, Report& report) {
  const bool is_learned = golden.name.ends_with("ls1");
  const nlohmann::json info =
      read_json(golden.dir / "tiny_dit.json")[is_learned ? "learn_sigma_1" : "learn_sigma_0"];
  DitShape shape;
  shape.channels = 2;
  shape.out_channels = is_learned ? 4 : 2;
  shape.height = shape.width = 4;
  shape.patch = 2;
  shape.dim = 8;
  shape.depth = 1;
  shape.heads = 2;
  shape.num_labels = 4;
  Dit network(shape, golden.options());
  NamedTensors weights = golden_weights(golden);
  report.compare_values("pos_embed", network.positions, weights.at("pos_embed"),
                        golden_bound(golden));
  weights.erase("pos_embed");
  load_tensors(network, weights, golden.name);
  DropoutStream none;
  const Conditioning conditioning{.labels = golden.at("__in.y"), .context = {}};
  const at::Tensor out =
      network.forward(golden.input("__in.x"), golden.at("__in.t"), conditioning, none);
  out.square().mean().backward();
  report.compare("__out.y", out, golden_bound(golden));
  report.compare_value("mean_sq", out.square().mean().item<double>(), info["mean_sq"],
                       golden_bound(golden));
  NamedTensors gradients;
  for (const Parameter& parameter : network.trainable()) {
    gradients[parameter.name] = parameter.tensor.grad();
  }
  compare_elements(info["grad_mean_sq"], gradients, golden, report);
  compare_published_names(golden, dit_names(shape), named_tensors(network), report);
}

// Names of latent diffusion's U-Net of this size; each is ours with the rest of the name below.
const std::vector<std::pair<std::string, std::string>> kLdmBlocks = {
    {"time_embed.0.", "time_embedding.linear_1."},
    {"time_embed.2.", "time_embedding.linear_2."},
    {"input_blocks.0.0.", "conv_in."},
    {"input_blocks.1.0.", "down_blocks.0.resnets.0."},
    {"input_blocks.2.0.op.", "down_blocks.0.downsamplers.0.conv."},
    {"input_blocks.3.0.", "down_blocks.1.resnets.0."},
    {"input_blocks.3.1.", "down_blocks.1.attentions.0."},
    {"middle_block.0.", "mid_block.resnets.0."},
    {"middle_block.1.", "mid_block.attentions.0."},
    {"middle_block.2.", "mid_block.resnets.1."},
    {"output_blocks.0.0.", "up_blocks.0.resnets.0."},
    {"output_blocks.0.1.", "up_blocks.0.attentions.0."},
    {"output_blocks.1.0.", "up_blocks.0.resnets.1."},
    {"output_blocks.1.1.", "up_blocks.0.attentions.1."},
    {"output_blocks.1.2.conv.", "up_blocks.0.upsamplers.0.conv."},
    {"output_blocks.2.0.", "up_blocks.1.resnets.0."},
    {"output_blocks.3.0.", "up_blocks.1.resnets.1."},
    {"out.0.", "conv_norm_out."},
    {"out.2.", "conv_out."}};
const std::vector<std::pair<std::string, std::string>> kLdmParts = {
    {"in_layers.0.", "norm1."},
    {"in_layers.2.", "conv1."},
    {"emb_layers.1.", "time_emb_proj."},
    {"out_layers.0.", "norm2."},
    {"out_layers.3.", "conv2."},
    {"skip_connection.", "conv_shortcut."},
    {"norm.", "group_norm."},
    {"qkv.", "to_qkv."},
    {"proj_out.", "to_out."}};

std::string our_name(std::string name) {
  for (const auto& [theirs, ours] : kLdmBlocks) {
    if (!name.starts_with(theirs)) continue;
    std::string rest = name.substr(theirs.size());
    for (const auto& [part, our_part] : kLdmParts) {
      if (rest.starts_with(part)) return ours + our_part + rest.substr(part.size());
    }
    return ours + rest;
  }
  return name;
}

/// Rows of a fused projection between "per head q, k, v" (theirs) and "q, k, v, each per head".
at::Tensor regrouped(const at::Tensor& rows, std::int64_t first, std::int64_t second) {
  const std::int64_t rest = rows.size(0) / (first * second);
  return rows.reshape({first, second, rest, -1}).transpose(0, 1).reshape(rows.sizes());
}

void run_tiny_unet(Case& golden, Report& report) {
  constexpr std::int64_t kHeads = 2;
  UNetShape shape;
  shape.channels = 32;
  shape.multipliers = {1, 2};
  shape.attention_levels = {1};
  shape.heads = kHeads;
  UNet network(shape, golden.options());
  NamedTensors weights;
  for (const auto& [name, tensor] : golden_weights(golden)) {
    at::Tensor value = tensor.dim() == 3 ? tensor.squeeze(2) : tensor;
    if (name.find("qkv") != std::string::npos) value = regrouped(value, kHeads, 3);
    weights[our_name(name)] = value;
  }
  load_tensors(network, weights, golden.name);
  DropoutStream none;
  const at::Tensor out = network.forward(golden.input("__in.x"), golden.input("__in.t"), {}, none);
  out.square().mean().backward();
  report.compare("__out.y", out, golden_bound(golden));
  report.compare_value("mean_sq", out.square().mean().item<double>(), golden.info["mean_sq"],
                       golden_bound(golden));
  NamedTensors ours, gradients;
  for (const Parameter& parameter : network.trainable())
    ours[parameter.name] = parameter.tensor.grad();
  for (const auto& [name, tensor] : golden_weights(golden)) {
    const at::Tensor gradient = ours.at(our_name(name));
    gradients[name] =
        name.find("qkv") == std::string::npos ? gradient : regrouped(gradient, 3, kHeads);
  }
  compare_elements(golden.info["grad_mean_sq"], gradients, golden, report);
  compare_published_names(golden, unet_names(shape), named_tensors(network), report);
}

}  // namespace

Runners diffusion_runners() {
  return {{.name = "dit", .config_class = "DiTTransformer2DModel", .run = run_dit},
          {.name = "unet2d", .config_class = "UNet2DModel", .run = run_unet},
          {.name = "unet2dcond", .config_class = "UNet2DConditionModel", .run = run_unet},
          {.name = "tiny_dit_ls0", .run = run_tiny_dit},
          {.name = "tiny_dit_ls1", .run = run_tiny_dit},
          {.name = "tiny_unet", .run = run_tiny_unet}};
}

}  // namespace kiln::parity
