#include "tests/support/coupled_toy.h"

#include <limits>

#include "core/base/philox.h"
#include "core/torch.h"

// B samples of a micro-batch, N of the global batch, I inputs, H hidden, D = kWidth.

namespace kiln::toy {
namespace {

constexpr std::int64_t kInputs = 24, kHidden = 800;  // first matrix: over a block

at::Tensor initial(std::int64_t number, std::vector<std::int64_t> shape, at::ScalarType type) {
  const at::Tensor values = at::empty(shape, at::kFloat);
  fill_normal(Philox(17, Purpose::kInit, number), values.data_ptr<float>(), values.numel());
  return (values * 0.3).to(type);
}

at::Tensor at_least_fp32(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

at::Tensor unit(const at::Tensor& x) { return x / x.norm(2, {1}, /*keepdim=*/true); }

}  // namespace

struct CoupledObjective::Network final : torch::nn::Module {
  at::Tensor weight1, bias1, weight2;            // f
  at::Tensor average1, average_bias1, average2;  // f'
  at::Tensor critic;                             // [1, D]
  explicit Network(at::ScalarType type) {
    const auto add = [&](const char* name, std::int64_t number, std::vector<std::int64_t> shape) {
      return register_parameter(name, initial(number, shape, type));
    };
    weight1 = add("weight1", 0, {kHidden, kInputs});
    bias1 = add("bias1", 1, {kHidden});
    weight2 = add("weight2", 2, {kWidth, kHidden});
    critic = add("critic", 3, {1, kWidth});
    average1 = register_buffer("average1", at::zeros_like(weight1));
    average_bias1 = register_buffer("average_bias1", at::zeros_like(bias1));
    average2 = register_buffer("average2", at::zeros_like(weight2));
  }
};

CoupledObjective::CoupledObjective(const CoupledOptions& options)
    : options_(options),
      network_(std::make_shared<Network>(options.precision)),
      queue_(unit(initial(9, {kQueue, kWidth}, at::kFloat))),
      pointer_(at::zeros({1}, at::kLong)),
      mean_(at::zeros({kWidth}, at::kDouble)),
      score_(at::zeros({1}, at::kDouble)) {}
CoupledObjective::~CoupledObjective() = default;

torch::nn::Module& CoupledObjective::module() { return *network_; }

void CoupledObjective::prepare(Batch& batch, std::uint64_t) const {
  batch.denominators["samples"] = static_cast<double>(batch.num_samples);
}

std::vector<Phase> CoupledObjective::phases() const {
  const Phase encoder{.name = "encoder", .is_coupled = true};
  if (!options_.has_critic) return {encoder};
  return {encoder, Phase{.name = "critic",
                         .optimizer = {.name = "rmsprop", .lr_factor = 0.5, .weight_decay = 0.0},
                         .has_average = false}};
}

std::vector<Parameter> CoupledObjective::parameters(std::size_t phase) {
  const Network& n = *network_;
  if (phase == 1) return {{.name = "critic", .tensor = n.critic, .bound = options_.bound}};
  return {{.name = "weight1", .tensor = n.weight1},
          {.name = "bias1",
           .tensor = n.bias1,
           .has_decay = false,
           .frozen_samples = options_.frozen_samples},
          {.name = "weight2", .tensor = n.weight2}};
}

bool CoupledObjective::rests(const StepContext& context, std::size_t phase) const {
  return phase == 1 && context.step % 2 == 1;
}

at::Tensor CoupledObjective::encode(const at::Tensor& x, bool is_average) const {
  const Network& n = *network_;
  const at::Tensor& weight1 = is_average ? n.average1 : n.weight1;
  const at::Tensor& bias1 = is_average ? n.average_bias1 : n.bias1;
  const at::Tensor hidden = at::tanh(at::linear(x.to(options_.precision), weight1, bias1));
  return at_least_fp32(at::linear(hidden, is_average ? n.average2 : n.weight2));
}

std::optional<Loss> CoupledObjective::loss(const Batch& batch, const StepContext& context,
                                           std::size_t) {
  const at::Tensor q = encode(batch.at("x"), false).detach();
  const at::Tensor score = at::linear(q.to(options_.precision), network_->critic);
  at::Tensor value = at_least_fp32(score - 1.0).square().sum() / batch.denominators.at("samples");
  if (context.step == options_.broken_step) {
    value = value * std::numeric_limits<double>::quiet_NaN();
  }
  sums_ = {{"scores", at_least_fp32(score).sum().reshape({1})}};
  return Loss{value, {}};
}

Rows CoupledObjective::embed(const Batch& batch, const StepContext&, std::size_t) {
  ++num_embedded;
  const at::Tensor q = encode(batch.at("x"), false);
  sums_ = {{"queries", q.detach().sum(0)}};
  at::Tensor k;
  {
    const at::NoGradGuard no_grad;
    k = unit(encode(-batch.at("x"), true));
  }
  const at::Tensor number = at::full({batch.num_samples}, batch.micro_batch, at::kLong);
  return {{"q", unit(q)}, {"k", k}, {"micro_batch", number}};
}

Loss CoupledObjective::couple(const Rows& all, const StepContext& context, std::size_t) {
  const at::Tensor& q = all.at("q");                      // [N, D]
  const at::Tensor& k = all.at("k");                      // [N, D]
  const at::Tensor& micro_batch = all.at("micro_batch");  // [N]
  at::Tensor own = q.matmul(k.t());                       // [N, N]
  if (options_.is_cut) {
    own = own.masked_fill(micro_batch.unsqueeze(1) != micro_batch.unsqueeze(0), -1e4);
  }
  const at::Tensor others = q.matmul(queue_.to(q.scalar_type()).t());  // [N, kQueue]
  const at::Tensor logits = at::cat({own, others}, 1) / context.value("temperature");
  const at::Tensor right = at::arange(q.size(0));
  const at::Tensor hits = logits.argmax(1).eq(right).sum();
  return {at::cross_entropy_loss(logits, right),
          {{"hits", {hits.to(at::kFloat), static_cast<double>(q.size(0))}}}};
}

std::vector<Buffer> CoupledObjective::buffers() {
  return {{"queue", queue_}, {"pointer", pointer_}, {"mean", mean_}, {"score", score_}};
}

std::vector<Average> CoupledObjective::averages() {
  const Network& n = *network_;
  return {{.name = "average",
           .pairs = {{"weight1", n.weight1, n.average1},
                     {"bias1", n.bias1, n.average_bias1},
                     {"weight2", n.weight2, n.average2}},
           .schedule = "momentum",
           .is_for_next_step = true}};
}

std::vector<NamedSchedule> CoupledObjective::schedules() const {
  return {{"momentum", {.name = "cosine", .start = 0.8, .end = 1.0}},
          {"temperature", {.start = 0.2, .warmup_from = 0.5, .warmup_steps = 3.0}},
          {"weight_decay", {.name = "linear", .start = 0.05, .end = 0.1}}};
}

// Each hidden unit is scaled to unit deviation over the batch.
void CoupledObjective::initialise_from(const Batch& batch, const StepContext&) {
  ++num_initialised;
  Network& n = *network_;
  const at::Tensor x = at::linear(batch.at("x").to(options_.precision), n.weight1);
  n.weight1.div_(x.std(0, /*unbiased=*/false).unsqueeze(1));
}

Sums CoupledObjective::sums(std::size_t) { return sums_; }

void CoupledObjective::after_step(const StepContext& context, const Sums& sums, const Rows& rows) {
  mean_.copy_(sums.at("queries") / static_cast<double>(context.global_batch));
  if (sums.contains("scores")) score_.copy_(sums.at("scores"));
  const at::Tensor& k = rows.at("k");
  const std::int64_t first = pointer_.item<std::int64_t>();
  for (std::int64_t i = 0; i < k.size(0); ++i) queue_[(first + i) % kQueue].copy_(k[i]);
  pointer_.fill_((first + k.size(0)) % kQueue);
}

}  // namespace kiln::toy
