#include <fmt/format.h>

#include "models/bert/bert_format.h"
#include "models/bert/bert_names.h"
#include "models/bert/bert_objective.h"
#include "tests/parity/runners.h"
#include "tests/parity/trainee.h"

// B samples, L tokens, D width, V vocabulary, H heads.

namespace kiln::parity {
namespace {

/// What a case stores of one batch: labels are -100 where nothing is to be predicted.
struct Inputs {
  at::Tensor labels;          // [B, L]
  at::Tensor attention_mask;  // [B, L], 1: token, 0: padding
  Batch batch;
};

Inputs make_inputs(const Case& reference, const std::string& prefix,
                   const std::string& pair_label) {
  Inputs inputs;
  const at::Tensor& tokens = reference.at(prefix + "input_ids");
  inputs.labels = reference.at(prefix + "labels");
  inputs.attention_mask = reference.at(prefix + "attention_mask");
  const at::Tensor flat = inputs.labels.reshape({-1});
  const at::Tensor places = flat.ne(-100).nonzero().squeeze(1);
  Batch& batch = inputs.batch;
  batch.num_samples = tokens.size(0);
  batch.tensors = {{"input_ids", tokens},
                   {"tokens", tokens},
                   {"segment", reference.at(prefix + "token_type_ids")},
                   {"position", at::arange(tokens.size(1), tokens.options()).unsqueeze(0)},
                   {"document", inputs.attention_mask - 1},  // 0: the document, -1: padding
                   {"masked_place", places},
                   {"masked_token", flat.index_select(0, places)}};
  batch.denominators["masked"] = static_cast<double>(places.size(0));
  if (!pair_label.empty()) {
    batch.tensors["pair_label"] = reference.at(prefix + pair_label);
    batch.denominators["pairs"] = static_cast<double>(tokens.size(0));
  }
  return inputs;
}

std::unique_ptr<BertObjective> make_objective(const BertShape& shape, const NamedTensors& weights,
                                              const at::TensorOptions& options,
                                              const std::string& origin) {
  auto objective = std::make_unique<BertObjective>(shape, MaskingOptions{}, options);
  load_tensors(objective->module(),
               to_ours(bert_names(shape), normalise_bert_names(weights, origin), origin), origin);
  return objective;
}

BertShape shape_of(const Case& reference) {
  BertShape shape = bert_shape_from_config(reference.config, reference.dir.string());
  set_bert_heads(shape, reference.weights);
  return shape;
}

/// Heads side by side before the output projection: [B, L, D].
at::Tensor mixed_heads(const Attention& attention, const at::Tensor& x, const at::Tensor& mask) {
  const std::int64_t B = x.size(0), L = x.size(1), D = x.size(2), H = attention.attention.heads;
  DropoutStream none;
  const auto parts =
      attention.qkv->forward(x).view({B, L, 3, H, D / H}).permute({2, 0, 3, 1, 4}).unbind(0);
  return attend(parts[0], parts[1], parts[2], mask, 0.0, none).transpose(1, 2).reshape({B, L, D});
}

/// The activations a case stores. They include rows of padding, which the reference lets see the
/// tokens: padding is masked as key only, unlike in our batches.
void compare_activations(const Bert& network, const Inputs& inputs, Report& report) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  Bert::Input input = bert_input(inputs.batch, "input_ids");
  input.mask = inputs.attention_mask.to(at::kBool).unsqueeze(1).unsqueeze(1);  // [B, 1, 1, L]
  at::Tensor x = network.embed(input, none);
  report.compare_if_stored("act.embeddings", x);
  for (std::size_t i = 0; i < network.blocks.size(); ++i) {
    const TransformerBlock& block = *network.blocks[i];
    if (i == 0) {
      report.compare_if_stored("act.encoder.0.attention.self",
                               mixed_heads(*block.attn, x, input.mask));
      report.compare_if_stored("act.encoder.0.attention",
                               block.norm1->forward(x + block.attn->forward(x, input.mask, none)));
    }
    x = block.forward(x, input.mask, none);
    report.compare_if_stored(fmt::format("act.encoder.{}", i), x);
  }
  report.compare_if_stored("act.transform", network.mlm->transform(x));
  report.compare_if_stored("mlm_logits", network.mlm_logits(x));
  if (!network.pair_head) return;
  const at::Tensor pooled = network.pool(x);
  report.compare_if_stored("act.pooler", pooled);
  report.compare_if_stored("nsp_logits", network.pair_logits(pooled));
}

Loss loss_and_gradients(BertObjective& objective, const Batch& batch) {
  for (const Parameter& parameter : objective.parameters(0)) {
    parameter.tensor.mutable_grad().reset();
  }
  Loss loss = *objective.loss(batch, StepContext{.is_training = false}, 0);
  loss.value.backward();
  return loss;
}

NamedTensors gradients(BertObjective& objective) {
  NamedTensors ours;
  for (const Parameter& parameter : objective.parameters(0)) {
    ours[parameter.name] = parameter.tensor.grad();
  }
  return ours;
}

at::Tensor mean_of(const Loss& loss, const std::string& metric) {
  const auto& [sum, weight] = loss.metrics.at(metric);
  return sum / weight;
}

void run_bert(Case& reference, Report& report) {
  const BertShape shape = shape_of(reference);
  const auto objective =
      make_objective(shape, reference.weights, reference.options(), reference.name);
  const Inputs inputs =
      make_inputs(reference, "", shape.has_pair_head ? "next_sentence_label" : "");
  compare_activations(objective->network(), inputs, report);
  const Loss loss = loss_and_gradients(*objective, inputs.batch);
  report.compare("loss", loss.value);
  if (shape.has_pair_head) {
    report.compare("mlm_loss", mean_of(loss, "mlm_loss"));
    report.compare("nsp_loss", mean_of(loss, "pair_loss"));
  }
  for (const auto& [name, gradient] : to_theirs(bert_names(shape), gradients(*objective))) {
    report.compare("grad." + name, gradient);
  }
}

void run_training(Case& reference, Report& report) {
  const BertShape shape = shape_of(reference);
  const auto objective = make_objective(shape, reference.weights,
                                        reference.options().dtype(at::kFloat), reference.name);
  Trainee trainee(objective->parameters(0), adamw_of(reference.info));
  std::vector<double> losses, norms;
  for (std::int64_t step = 1; step <= reference.info.at("steps").get<std::int64_t>(); ++step) {
    const Inputs inputs = make_inputs(reference, fmt::format("step{}.", step),
                                      shape.has_pair_head ? "next_sentence_label" : "");
    trainee.zero_gradients();
    const at::Tensor loss =
        objective->loss(inputs.batch, StepContext{.is_training = false}, 0)->value;
    loss.backward();
    losses.push_back(loss.item<double>());
    norms.push_back(trainee.gradient_norm());
    trainee.step(reference.at("lr")[step - 1].item<double>(), reference.info.at("clip"));
  }
  compare_training(reference, report, losses, norms);
  for (const auto& [name, weight] :
       to_theirs(bert_names(shape), named_tensors(objective->module()))) {
    // The true gradient of key biases is zero; Adam scales their rounding noise to full steps.
    if (name.ends_with(".key.bias")) continue;
    report.compare("final." + name, weight, kTrainedWeights);
  }
}

// tiny_bert: 30 pieces, width 8, one layer of two heads, up to 8 positions.
BertShape tiny_shape(bool has_tanh_gelu) {
  BertShape shape;
  shape.vocab_size = 30;
  shape.max_positions = 8;
  shape.dim = 8;
  shape.depth = 1;
  shape.heads = 2;
  shape.mlp_dim = 16;
  shape.has_tanh_gelu = has_tanh_gelu;
  return shape;
}

NamedTensors golden_weights(const Case& golden) {
  NamedTensors weights;
  for (const auto& [name, tensor] : golden.tensors) {
    if (!name.starts_with("__")) weights[name] = tensor;
  }
  return weights;
}

void compare_golden_gradients(const Case& golden, BertObjective& objective, Bound bound,
                              Report& report) {
  NamedTensors all;
  for (const auto& [name, gradient] :
       to_theirs(bert_names(objective.shape()), gradients(objective))) {
    all[name] = gradient.reshape({-1});
  }
  for (const auto& [entry, value] : golden.info["grad_total_erf"].items()) {  // "name[element]"
    const std::size_t bracket = entry.find('[');
    const std::int64_t element = std::stoll(entry.substr(bracket + 1));
    report.compare_value("grad." + entry, all.at(entry.substr(0, bracket))[element].item<double>(),
                         value, bound);
  }
}

void run_tiny_bert(Case& golden, Report& report) {
  const Bound bound = golden.type == at::kDouble ? kFloat64Bound : Bound{2e-6, 2e-5};
  for (const bool has_tanh_gelu : {true, false}) {
    const auto objective = make_objective(tiny_shape(has_tanh_gelu), golden_weights(golden),
                                          golden.options(), golden.name);
    const Inputs inputs = make_inputs(golden, "__in.", "nsp");
    const Loss loss = loss_and_gradients(*objective, inputs.batch);
    const auto& expected = golden.info[has_tanh_gelu ? "tanh" : "erf"];
    report.compare_value("mlm", mean_of(loss, "mlm_loss").item<double>(), expected["mlm"], bound);
    report.compare_value("nsp", mean_of(loss, "pair_loss").item<double>(), expected["nsp"], bound);
    report.compare_value("total", loss.value.item<double>(), expected["total"], bound);
    if (has_tanh_gelu) continue;
    report.compare("__out.loss", loss.value.detach().reshape({1}), bound);
    const at::NoGradGuard no_grad;
    DropoutStream none;
    Bert::Input input = bert_input(inputs.batch, "input_ids");
    input.mask = inputs.attention_mask.to(at::kBool).unsqueeze(1).unsqueeze(1);
    report.compare("__out.hidden", objective->network().encode(input, none), bound);
    compare_golden_gradients(golden, *objective, bound, report);
  }
}

}  // namespace

Runners bert_runners() {
  return {{.name = "bert_pretraining",
           .config_class = "BertForPreTraining",
           .is_training = true,
           .run = run_training},
          {.name = "bert_mlm",
           .config_class = "BertForMaskedLM",
           .is_training = true,
           .run = run_training},
          {.name = "bert_pretraining", .config_class = "BertForPreTraining", .run = run_bert},
          {.name = "bert_mlm", .config_class = "BertForMaskedLM", .run = run_bert},
          {.name = "tiny_bert", .run = run_tiny_bert}};
}

}  // namespace kiln::parity
