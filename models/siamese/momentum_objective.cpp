#include "models/siamese/momentum_objective.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "models/contrast/losses.h"
#include "models/layers/init.h"
#include "models/layers/parameters.h"
#include "models/layers/submodule.h"

namespace kiln {
namespace {

std::size_t passes(const MomentumShape& shape) {
  return shape.is_symmetric ? 2 : static_cast<std::size_t>(shape.num_groups);
}

/// The sin-cos table of MoCo v3: as ours, with the halves of row and column exchanged.
void put_rows_first(const Backbone& backbone) {
  const at::NoGradGuard no_grad;
  at::Tensor table = backbone.vit().pos_embed;
  const auto halves = table.clone().chunk(2, -1);
  table.copy_(at::cat({halves[1], halves[0]}, -1));
}

bool is_patch_projection(const std::string& name) {
  return name.find(".patch_embed.") != std::string::npos;
}

}  // namespace

MomentumObjective::Network::Network(const MomentumShape& shape, const at::TensorOptions& options)
    : ViewEncoder(shape.backbone, shape.projector, options) {
  if (!shape.predictor.empty()) {
    predictor = add<MlpHead>(*this, "predictor", head->width(), shape.predictor, options);
  }
  momentum = add<ViewEncoder>(*this, "momentum", shape.backbone, shape.projector, options);
  for (at::Tensor& tensor : momentum->parameters()) tensor.requires_grad_(false);
}

MomentumObjective::MomentumObjective(const MomentumShape& shape, PixelNormalisation pixels,
                                     const at::TensorOptions& options)
    : ViewObjective(std::move(pixels)),
      shape_(shape),
      network_(std::make_shared<Network>(shape, options)),
      norms_(*network_, passes(shape)) {
  if (!shape_.has_frozen_patches) return;
  for (const Backbone* backbone : {&network_->backbone, &network_->momentum->backbone}) {
    put_rows_first(*backbone);
    for (at::Tensor& tensor : backbone->vit().patch_embed->parameters()) {
      tensor.requires_grad_(false);
    }
  }
}

void MomentumObjective::initialise(std::uint64_t seed) {
  const std::size_t next =
      network_->ViewEncoder::initialise(HeadInit::kUniform, seed, shape_.has_zero_last_gamma);
  if (network_->predictor) initialise_head(*network_->predictor, HeadInit::kUniform, seed, next);
  if (shape_.has_frozen_patches) freeze_patches(seed);
}

void MomentumObjective::freeze_patches(std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  std::size_t index = 0;
  for (Parameter& parameter : vit_parameters(network_->backbone.vit())) {
    const Philox stream = init_stream(seed, index++);
    at::Tensor& tensor = parameter.tensor;
    if (parameter.name == "cls_token") fill_normal(tensor, 1e-6, stream);
    if (parameter.name == "patch_embed.proj.bias") tensor.zero_();
    if (parameter.name.ends_with("qkv.weight")) {  // the bound of each of the three alone
      fill_uniform(tensor, std::sqrt(6.0 / static_cast<double>(2 * tensor.size(1))), stream);
    }
  }
}

void MomentumObjective::prepare(Batch& batch, std::uint64_t seed) const {
  ViewObjective::prepare(batch, seed);
  if (shape_.is_symmetric) return;
  const Philox stream(seed, Purpose::kPairs, batch.first_position);
  const at::Tensor keys = at::empty({batch.num_samples}, at::kLong);
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    keys.data_ptr<std::int64_t>()[b] = stream.word(static_cast<std::uint64_t>(b));
  }
  batch.tensors["shuffle"] = keys.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
}

std::vector<Parameter> MomentumObjective::parameters(std::size_t phase) {
  KILN_CHECK(phase == 0, "phase {}", phase);
  std::vector<Parameter> list;
  network_->backbone.append(list);
  append_parameters(list, "head", *network_->head);
  if (network_->predictor) append_parameters(list, "predictor", *network_->predictor);
  if (shape_.has_frozen_patches) {
    std::erase_if(list, [](const Parameter& one) { return is_patch_projection(one.name); });
  }
  if (shape_.has_decay_everywhere) {
    for (Parameter& parameter : list) parameter.has_decay = true;
  }
  return list;
}

at::Tensor MomentumObjective::query(const at::Tensor& images, DropoutStream& drop) const {
  const at::Tensor z = network_->forward(images, BatchNormMode::kTraining, drop);
  if (!network_->predictor) return unit_rows(z);
  return unit_rows(network_->predictor->forward(z, BatchNormMode::kTraining));
}

at::Tensor MomentumObjective::key(const at::Tensor& images) const {
  DropoutStream none;
  return unit_rows(network_->momentum->forward(images, BatchNormMode::kTraining, none));
}

Rows MomentumObjective::embed(const Batch& batch, const StepContext& context, std::size_t) {
  norms_.begin();
  DropoutStream drop(context.seed, batch.first_position);
  Rows rows;
  if (shape_.is_symmetric) {
    for (const std::int64_t v : {0, 1}) {
      rows["q." + std::to_string(v)] = query(view(batch, v), drop);
    }
    const at::NoGradGuard no_grad;
    for (const std::int64_t v : {0, 1}) rows["k." + std::to_string(v)] = key(view(batch, v));
    return rows;
  }
  std::vector<at::Tensor> queries, keys;
  for (const at::Tensor& part : view(batch, 0).chunk(shape_.num_groups)) {
    queries.push_back(query(part, drop));
  }
  rows["q.0"] = at::cat(queries);
  const at::NoGradGuard no_grad;
  const at::Tensor& shuffle = batch.at("shuffle");
  const at::Tensor shuffled = view(batch, 1).index_select(0, shuffle);
  for (const at::Tensor& part : shuffled.chunk(shape_.num_groups)) keys.push_back(key(part));
  rows["k.1"] = at::cat(keys).index_select(0, shuffle.argsort());
  return rows;
}

std::vector<Buffer> MomentumObjective::buffers() {
  std::vector<Buffer> list = running_statistics(*network_);
  if (!shape_.has_frozen_patches) return list;
  std::vector<Parameter> parameters;
  network_->backbone.append(parameters);
  for (const Parameter& one : parameters) {
    if (is_patch_projection(one.name)) list.push_back({one.name, one.tensor});
  }
  return list;
}

std::vector<Average> MomentumObjective::averages() {
  Average average{.name = "momentum", .schedule = "momentum", .is_for_next_step = true};
  const auto targets = network_->momentum->named_parameters();
  const auto sources = network_->named_parameters();
  for (const auto& target : targets) {
    average.pairs.push_back({target.key(), sources[target.key()], target.value()});
  }
  return {average};
}

std::vector<NamedSchedule> MomentumObjective::schedules() const {
  if (shape_.last_momentum == shape_.momentum) return {{"momentum", {.start = shape_.momentum}}};
  return {{"momentum", {.name = "cosine", .start = shape_.momentum, .end = shape_.last_momentum}}};
}

void MomentumObjective::after_step(const StepContext&, const Sums& sums, const Rows&) {
  norms_.move(sums);
}

}  // namespace kiln
