#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "models/autoencoder/autoencoder_names.h"
#include "models/autoencoder/bottleneck.h"
#include "models/autoencoder/network.h"
#include "tests/parity/runners.h"

// B samples, C channels, H x W pixels.

namespace kiln::parity {
namespace {

/// encode() and decode() step by step, handing each intermediate value to `see`.
template <typename See>
void walk(const Autoencoder& network, const at::Tensor& image, const at::Tensor& latent,
          const See& see) {
  const at::NoGradGuard no_grad;
  const Encoder& encoder = *network.encoder;
  at::Tensor x = encoder.conv_in->forward(image);
  see("act.encoder.conv_in", x);
  for (std::size_t i = 0; i < encoder.down.size(); ++i) {
    x = encoder.down[i]->forward(x);
    see(fmt::format("act.encoder.down.{}", i), x);
  }
  x = encoder.mid->forward(x);
  see("act.encoder.mid", x);
  see("act.encoder", encoder.finish(x));

  const Decoder& decoder = *network.decoder;
  x = decoder.conv_in->forward(network.post_quant_conv->forward(latent));
  see("act.decoder.conv_in", x);
  x = decoder.mid->forward(x);
  see("act.decoder.mid", x);
  for (std::size_t i = 0; i < decoder.up.size(); ++i) {  // theirs count from the coarsest
    x = decoder.up[decoder.up.size() - 1 - i]->forward(x);
    see(fmt::format("act.decoder.up.{}", i), x);
  }
}

std::shared_ptr<Autoencoder> load(Case& reference, NameTable& table) {
  const AutoencoderShape shape = autoencoder_shape_from_config(reference.config, reference.name);
  table = autoencoder_names(shape);
  auto network = std::make_shared<Autoencoder>(shape, reference.options());
  load_tensors(*network, to_ours(table, reference.weights, reference.name), reference.name);
  return network;
}

void compare_gradients(Autoencoder& network, const NameTable& table, Report& report) {
  NamedTensors ours;
  for (const Parameter& parameter : autoencoder_parameters(network)) {
    ours[parameter.name] = parameter.tensor.grad();
  }
  for (const auto& [name, gradient] : to_theirs(table, ours)) {
    report.compare("grad." + name, gradient);
  }
}

void run_autoencoder_kl(Case& reference, Report& report) {
  NameTable table;
  const auto network = load(reference, table);
  const at::Tensor image = reference.input("sample");
  const at::Tensor moments = network->encode(image);
  const auto posterior = DiagonalGaussian::from_moments(moments);
  const at::Tensor z = posterior.sample(reference.input("posterior_noise"));
  const at::Tensor made = network->decode(z);
  const at::Tensor mse = (made - image).square().mean();
  const at::Tensor loss =
      mse + posterior.kl().mean() * reference.info["settings"]["kl_weight"].get<double>();
  loss.backward();

  walk(*network, image, z,
       [&](const std::string& name, const at::Tensor& x) { report.compare_if_stored(name, x); });
  report.compare("moments", moments);
  report.compare("mean", posterior.mean);
  report.compare("logvar", posterior.log_variance);
  report.compare("z", z);
  report.compare("recon", made);
  report.compare("recon_of_mean", network->decode(posterior.mean));
  report.compare("kl_per_sample", posterior.kl());
  report.compare("mse", mse);
  report.compare("loss", loss);
  compare_gradients(*network, table, report);
}

void run_vq_model(Case& reference, Report& report) {
  NameTable table;
  const auto network = load(reference, table);
  const auto& settings = reference.info["settings"];
  const at::Tensor image = reference.input("sample");
  const at::Tensor z = network->encode(image);
  const Quantised quantised = quantise(z, network->quantize->embedding);
  const at::Tensor made = network->decode(quantised.z_q);
  const at::Tensor mse = (made - image).square().mean();
  const at::Tensor vq_loss = quantisation_loss(quantised, settings["beta"].get<double>(),
                                               settings["legacy_beta"].get<bool>());
  (mse + vq_loss).backward();

  walk(*network, image, quantised.z_q,
       [&](const std::string& name, const at::Tensor& x) { report.compare_if_stored(name, x); });
  report.compare("z", z);
  report.compare("indices", quantised.indices);
  report.compare("z_q", quantised.z_q);
  report.compare("recon", made);
  report.compare("vq_loss", vq_loss);
  report.compare("mse", mse);
  report.compare("loss", mse + vq_loss);
  compare_gradients(*network, table, report);
}

// tiny_ae: 8 x 8 images, 32 channels, two levels of one block.
AutoencoderShape tiny_shape(Bottleneck bottleneck) {
  AutoencoderShape shape;
  shape.bottleneck = bottleneck;
  shape.channels = 32;
  shape.multipliers = {1, 2};
  shape.blocks_per_level = 1;
  shape.num_codes = 6;
  return shape;
}

NamedTensors golden_weights(const Case& golden) {
  NamedTensors weights;
  for (const auto& [name, tensor] : golden.tensors) {
    if (name.starts_with("__")) continue;
    // Attention there is made of 1 x 1 convolutions.
    const bool is_attention = name.find(".attn_1.") != std::string::npos && tensor.dim() == 4;
    weights[name] = is_attention ? tensor.flatten(1) : tensor;
  }
  return weights;
}

nlohmann::json read_json(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return nlohmann::json::parse(stream);
}

void compare_published_names(const Case& golden, const Autoencoder& network, Report& report) {
  const nlohmann::json keys = read_json(golden.dir / (golden.name + "_hf_keys.json"));
  std::size_t num_weights = 0;
  for (const auto& [name, shape] : keys.items()) num_weights += name.starts_with("__") ? 0 : 1;
  const auto exported = to_theirs(autoencoder_names(network.shape), named_tensors(network));
  report.expect(exported.size() == num_weights, "number of exported tensors");
  for (const auto& [name, value] : exported) {
    report.expect(keys.contains(name) && keys[name] == nlohmann::json(value.sizes().vec()),
                  "hf:" + name);
  }
}

Bound golden_bound(const Case& golden) {
  return golden.type == at::kDouble ? kFloat64Bound : Bound{2e-6, 2e-5};
}

void run_tiny_ae_kl(Case& golden, Report& report) {
  const Bound bound = golden_bound(golden);
  const nlohmann::json info = read_json(golden.dir / "tiny_ae.json")["kl"];
  Autoencoder network(tiny_shape(Bottleneck::kKl), golden.options());
  load_tensors(network, golden_weights(golden), golden.name);
  const at::Tensor image = golden.input("__in.x");
  const at::Tensor moments = network.encode(image);
  const auto posterior = DiagonalGaussian::from_moments(moments);
  const at::Tensor z = posterior.sample(golden.input("__in.eps"));
  const at::Tensor made = network.decode(z);
  const at::Tensor l1 = (image - made).abs().sum();
  const at::Tensor kl = posterior.kl().sum();
  (l1 + kl * 1e-6).backward();

  report.compare("__out.moments", moments, bound);
  report.compare("__out.z", z, bound);
  report.compare("__out.recon", made, bound);
  report.compare_value("l1_sum", l1.item<double>(), info["l1_sum"], bound);
  report.compare_value("kl", kl.item<double>(), info["kl"], bound);
  NamedTensors gradients;
  for (const Parameter& parameter : autoencoder_parameters(network)) {
    gradients[parameter.name] = parameter.tensor.grad().reshape({-1});
  }
  for (const auto& [entry, value] : info["grad"].items()) {  // "name[element]"
    const std::size_t bracket = entry.find('[');
    const std::int64_t element = std::stoll(entry.substr(bracket + 1));
    // These come from finite differences: good to nine digits of the loss, not more.
    const Bound loose{golden.type == at::kDouble ? 1e-7 : 2e-5, bound.relative};
    report.compare_value("grad." + entry,
                         gradients.at(entry.substr(0, bracket))[element].item<double>(), value,
                         loose);
  }
  compare_published_names(golden, network, report);
}

void run_tiny_ae_vq(Case& golden, Report& report) {
  const Bound bound = golden_bound(golden);
  const nlohmann::json info = read_json(golden.dir / "tiny_ae.json")["vq"];
  Autoencoder network(tiny_shape(Bottleneck::kVq), golden.options());
  load_tensors(network, golden_weights(golden), golden.name);
  const at::NoGradGuard no_grad;
  const at::Tensor image = golden.input("__in.x");
  const Quantised quantised = quantise(network.encode(image), network.quantize->embedding);
  const at::Tensor made = network.decode(quantised.z_q);
  report.compare("__out.indices", quantised.indices.flatten(), Bound{});
  report.compare("__out.recon", made, bound);
  report.compare_value("mse", quantised.code_loss.item<double>(), info["mse"], bound);
  report.compare_value("codebook_loss_beta.25",
                       quantisation_loss(quantised, 0.25, false).item<double>(),
                       info["codebook_loss_beta.25"], bound);
  report.compare_value("l1_mean", (image - made).abs().mean().item<double>(), info["l1_mean"],
                       bound);
  compare_published_names(golden, network, report);
}

}  // namespace

Runners autoencoder_runners() {
  return {{.name = "autoencoder_kl", .config_class = "AutoencoderKL", .run = run_autoencoder_kl},
          {.name = "vqmodel", .config_class = "VQModel", .run = run_vq_model},
          {.name = "tiny_ae_kl", .run = run_tiny_ae_kl},
          {.name = "tiny_ae_vq", .run = run_tiny_ae_vq}};
}

}  // namespace kiln::parity
