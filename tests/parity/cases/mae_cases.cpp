#include <fmt/format.h>

#include "core/checkpoint/safetensors.h"
#include "models/mae/mae.h"
#include "models/mae/vit_config.h"
#include "models/mae/vit_names.h"
#include "tests/parity/runners.h"
#include "tests/parity/trainee.h"

// B samples, L patches, V visible ones, P values of a patch.

namespace kiln::parity {
namespace {

at::Tensor ids_from_noise(const at::Tensor& noise) {
  const at::Tensor ids = at::empty(noise.sizes(), at::kLong);
  const at::Tensor values = noise.to(at::kCPU, at::kFloat).contiguous();
  for (std::int64_t b = 0; b < noise.size(0); ++b) {
    const std::span<const float> row(values.const_data_ptr<float>() + b * values.size(1),
                                     static_cast<std::size_t>(values.size(1)));
    std::ranges::copy(shuffle_by_noise(row), ids.data_ptr<std::int64_t>() + b * ids.size(1));
  }
  return ids.to(noise.device());
}

/// Rows of x [B, 1 + L, E] from shuffled into patch order, the class token staying first.
at::Tensor unshuffle(const at::Tensor& x, const at::Tensor& ids_restore) {
  const at::Tensor rows = at::constant_pad_nd(ids_restore + 1, {1, 0}, 0);
  return x.gather(1, rows.unsqueeze(-1).expand({-1, -1, x.size(2)}));
}

struct Inputs {
  at::Tensor images;  // [B, H, W, C]
  at::Tensor ids_shuffle, ids_restore;
  at::Tensor mask;  // [B, L], 1 where masked
  Batch batch;
};

Inputs make_inputs(const at::Tensor& pixel_values, const at::Tensor& noise, const MaeShape& shape) {
  Inputs inputs;
  inputs.images = pixel_values.permute({0, 2, 3, 1}).contiguous();
  inputs.ids_shuffle = ids_from_noise(noise);
  inputs.ids_restore = inputs.ids_shuffle.argsort(std::int64_t{1});
  inputs.mask = inputs.ids_restore.ge(shape.num_visible()).to(at::kDouble);
  inputs.batch.tensors = {{"image", inputs.images}, {"ids_shuffle", inputs.ids_shuffle}};
  inputs.batch.num_samples = pixel_values.size(0);
  inputs.batch.denominators["masked"] =
      static_cast<double>(inputs.batch.num_samples * shape.num_masked());
  return inputs;
}

/// Predictions for all patches in patch order [B, L, P], step by step through the network, handing
/// each intermediate value to `see`.
template <typename See>
at::Tensor predict_all(const MaskedAutoencoder& network, const Inputs& inputs, const See& see) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  const at::Tensor patches = patchify(inputs.images, network.shape.patch);
  const at::Tensor ids_keep = inputs.ids_shuffle.narrow(1, 0, network.mae.num_visible());
  const at::Tensor visible =
      patches.gather(1, ids_keep.unsqueeze(-1).expand({-1, -1, patches.size(2)}));
  at::Tensor x = network.embed(visible, ids_keep);
  see("act.embeddings", x);
  for (std::size_t i = 0; i < network.blocks.size(); ++i) {
    const TransformerBlock& block = *network.blocks[i];
    if (i == 0) {
      see("act.encoder.0.attention", block.attn->forward(block.norm1->forward(x), {}, none));
    }
    x = block.forward(x, {}, none);
    see(fmt::format("act.encoder.{}", i), x);
  }
  x = network.norm->forward(x);
  see("latent", x);
  see("act.decoder_embed", network.decoder_embed->forward(x));
  x = network.embed_decoder(x, inputs.ids_shuffle);
  for (std::size_t i = 0; i < network.decoder_blocks.size(); ++i) {
    x = network.decoder_blocks[i]->forward(x, {}, none);
    see(fmt::format("act.decoder.{}", i), unshuffle(x, inputs.ids_restore));
  }
  const at::Tensor tokens = unshuffle(x, inputs.ids_restore);
  return network.predict(tokens.narrow(1, 1, tokens.size(1) - 1));
}

at::Tensor loss_and_gradients(MaeObjective& objective, const Inputs& inputs) {
  for (const Parameter& parameter : objective.parameters(0))
    parameter.tensor.mutable_grad().reset();
  const at::Tensor loss = objective.loss(inputs.batch, StepContext{.is_training = false}, 0)->value;
  loss.backward();
  return loss;
}

/// Our gradients under the names of the table.
std::vector<std::pair<std::string, at::Tensor>> gradients(MaeObjective& objective,
                                                          NameTable table) {
  NamedTensors ours;
  for (const Parameter& parameter : objective.parameters(0)) {
    ours[parameter.name] = parameter.tensor.grad();
  }
  std::erase_if(table, [&](const NameRule& rule) { return !ours.contains(rule.ours); });
  return to_theirs(table, ours);
}

void run_vit_mae(Case& reference, Report& report) {
  reference.rename(vit_mae_aliases());
  const MaeShape shape = mae_shape_from_config(reference.config, reference.dir.string());
  const NameTable table = vit_mae_names(shape);
  MaeObjective objective(shape, PixelNormalisation({}, {}), reference.options());
  load_tensors(objective.module(), to_ours(table, reference.weights, reference.name),
               reference.name);
  const Inputs inputs = make_inputs(reference.input("pixel_values"), reference.at("noise"), shape);

  report.compare("ids_shuffle", inputs.ids_shuffle);
  report.compare("ids_keep", inputs.ids_shuffle.narrow(1, 0, shape.num_visible()));
  report.compare("ids_restore", inputs.ids_restore);
  report.compare("mask", inputs.mask);
  report.compare("target", mae_target(patchify(inputs.images, shape.encoder.patch),
                                      shape.has_normalised_targets));
  const auto see = [&](const std::string& name, const at::Tensor& x) {
    report.compare_if_stored(name, x);
  };
  report.compare("pred", predict_all(objective.network(), inputs, see));
  report.compare("loss", loss_and_gradients(objective, inputs));
  for (const auto& [name, gradient] : gradients(objective, table)) {
    report.compare("grad." + name, gradient);
  }
}

/// The model's parameters, and the position tables if the stored run trained those too.
std::vector<Parameter> trained_parameters(MaeObjective& objective, const Case& reference,
                                          const NameTable& table) {
  std::vector<Parameter> parameters = objective.parameters(0);
  for (const Buffer& buffer : objective.buffers()) {
    const auto rule = std::ranges::find(table, buffer.name, &NameRule::ours);
    const std::string& stored = rule->theirs[0];
    if (reference.at("final." + stored).equal(reference.weights.at(stored))) continue;
    Parameter parameter;
    parameter.name = buffer.name;
    parameter.tensor = buffer.tensor;
    parameters.push_back(parameter);
  }
  return parameters;
}

void run_training(Case& reference, Report& report) {
  reference.rename(vit_mae_aliases());
  const MaeShape shape = mae_shape_from_config(reference.config, reference.dir.string());
  const NameTable table = vit_mae_names(shape);
  MaeObjective objective(shape, PixelNormalisation({}, {}), reference.options().dtype(at::kFloat));
  load_tensors(objective.module(), to_ours(table, reference.weights, reference.name),
               reference.name);
  Trainee trainee(trained_parameters(objective, reference, table), adamw_of(reference.info));
  std::vector<double> losses, norms;
  for (std::int64_t step = 1; step <= reference.info.at("steps").get<std::int64_t>(); ++step) {
    const std::string prefix = fmt::format("step{}.", step);
    const Inputs inputs =
        make_inputs(reference.at(prefix + "pixel_values"), reference.at(prefix + "noise"), shape);
    trainee.zero_gradients();
    const at::Tensor loss = objective.loss(inputs.batch, StepContext{}, 0)->value;
    loss.backward();
    losses.push_back(loss.item<double>());
    norms.push_back(trainee.gradient_norm());
    trainee.step(reference.at("lr")[step - 1].item<double>(), reference.info.at("clip"));
  }
  compare_training(reference, report, losses, norms);
  for (const auto& [name, weight] : to_theirs(table, named_tensors(objective.module()))) {
    // The true gradient of key biases is zero; Adam scales their rounding noise to steps of full
    // size.
    if (name.ends_with(".key.bias")) continue;
    report.compare("final." + name, weight, kTrainedWeights);
  }
}

// tiny_mae: 8 x 8 images in patches of 4, two patches of four visible.
MaeShape tiny_shape(bool has_normalised_targets) {
  MaeShape shape;
  shape.encoder = {
      .height = 8, .width = 8, .patch = 4, .dim = 8, .depth = 1, .heads = 2, .mlp_dim = 32};
  shape.decoder_dim = 8;
  shape.decoder_depth = 1;
  shape.decoder_heads = 2;
  shape.decoder_mlp_dim = 32;
  shape.mask_ratio = 0.5;
  shape.has_normalised_targets = has_normalised_targets;
  return shape;
}

NamedTensors golden_weights(const Case& golden) {
  NamedTensors weights;
  for (const auto& [name, tensor] : golden.tensors) {
    if (!name.starts_with("__")) weights[name] = tensor;
  }
  return weights;
}

void compare_published_names(const Case& golden, const MaeObjective& objective, Report& report) {
  const NamedTensors theirs = read_all(golden.dir / "tiny_mae_hf.safetensors");
  NamedTensors ours = golden_weights(golden);
  std::size_t num_weights = 0;
  for (const auto& [name, value] : theirs) num_weights += name.starts_with("__") ? 0 : 1;
  const auto exported = to_theirs(vit_mae_names(objective.shape()), ours);
  report.expect(exported.size() == num_weights, "exported names differ from tiny_mae_hf");
  for (const auto& [name, value] : exported) {
    report.expect(theirs.contains(name) && theirs.at(name).equal(value.cpu()), "hf:" + name);
  }
}

void run_tiny_mae(Case& golden, Report& report) {
  const Bound bound = golden.type == at::kDouble ? kFloat64Bound : Bound{2e-6, 2e-5};
  for (const bool is_normalised : {false, true}) {
    const MaeShape shape = tiny_shape(is_normalised);
    MaeObjective objective(shape, PixelNormalisation({}, {}), golden.options());
    load_tensors(objective.module(), golden_weights(golden), golden.name);
    const Inputs inputs = make_inputs(golden.input("__in.imgs"), golden.at("__in.noise"), shape);
    const char* key = is_normalised ? "loss_norm_pix" : "loss_raw_pix";
    const double loss = loss_and_gradients(objective, inputs).item<double>();
    report.compare_value(key, loss, golden.info[key], bound);
    if (!is_normalised) continue;
    report.compare("__out.mask", inputs.mask, Bound{});
    report.compare("__out.pred", predict_all(objective.network(), inputs, [](auto&&...) {}), bound);
    NamedTensors all;
    for (const Parameter& parameter : objective.parameters(0)) {
      all[parameter.name] = parameter.tensor.grad().reshape({-1});
    }
    for (const auto& [entry, value] : golden.info["grad"].items()) {  // "name[element]"
      const std::size_t bracket = entry.find('[');
      const std::int64_t element = std::stoll(entry.substr(bracket + 1));
      report.compare_value("grad." + entry,
                           all.at(entry.substr(0, bracket))[element].item<double>(), value, bound);
    }
    compare_published_names(golden, objective, report);
  }
}

}  // namespace

Runners mae_runners() {
  return {{.name = "vitmae",
           .config_class = "ViTMAEForPreTraining",
           .is_training = true,
           .run = run_training},
          {.name = "vitmae", .config_class = "ViTMAEForPreTraining", .run = run_vit_mae},
          {.name = "tiny_mae", .run = run_tiny_mae}};
}

}  // namespace kiln::parity
