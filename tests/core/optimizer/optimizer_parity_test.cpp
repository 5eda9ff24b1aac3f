// The optimizer's rules against other people's numbers.

#include <gtest/gtest.h>

#include <set>

#include "core/checkpoint/safetensors.h"
#include "core/optimizer/optimizer.h"
#include "tests/support/flat_model.h"

namespace kiln {
namespace {

const std::filesystem::path kParity =
    std::filesystem::path(KILN_SOURCE_DIR) / "../shared/parity/optim";

struct ParityCase {
  std::string file, optimizer;
  double beta1, beta2, eps, weight_decay;
  std::set<std::string> decayed;
  double bound;
  friend void PrintTo(const ParityCase& the_case, std::ostream* out) { *out << the_case.file; }
};

class OptimizerParity : public testing::TestWithParam<ParityCase> {};

TEST_P(OptimizerParity, ParametersAfterEachStep) {
  const ParityCase& the_case = GetParam();
  const auto path = kParity / (the_case.file + ".safetensors");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const SafetensorsFile file(path);
  std::vector<Parameter> parameters;
  for (const auto& [key, entry] : file.entries()) {
    if (!key.starts_with("param.0.")) continue;
    const std::string name = key.substr(8);
    parameters.push_back(
        {.name = name,
         .tensor = leaf(file.read(key)),
         .has_decay = the_case.decayed.empty() || the_case.decayed.contains(name)});
  }
  ASSERT_EQ(parameters.size(), 7u);
  OptimizerOptions options;
  options.name = the_case.optimizer;
  options.betas = {the_case.beta1, the_case.beta2};
  options.eps = the_case.eps;
  options.weight_decay = the_case.weight_decay;
  const Optimizer optimizer(options);
  FlatModel model(parameters, optimizer);
  const at::Tensor lr = file.read("lr");
  ASSERT_EQ(lr.numel(), 5);
  for (int step = 1; step <= 5; ++step) {
    for (auto& parameter : model.parameters) {
      parameter.tensor.mutable_grad().copy_(
          file.read(fmt::format("grad.{}.{}", step, parameter.name)));
    }
    model.step(optimizer, {.lr = lr[step - 1].item<double>(), .update = step});
    for (const auto& parameter : model.parameters) {
      const std::string in_fp32 = fmt::format("param.{}.{}", step, parameter.name);
      const std::string in_fp64 = fmt::format("param_f64.{}.{}", step, parameter.name);
      const at::Tensor expected = file.read(file.contains(in_fp32) ? in_fp32 : in_fp64);
      const at::Tensor error = (parameter.tensor.detach() - expected).abs();
      const at::Tensor allowed = the_case.bound * expected.abs().clamp_min(1.0);
      EXPECT_TRUE(error.le(allowed).all().item<bool>())
          << parameter.name << " after step " << step << ": " << error.max().item<double>();
    }
  }
}

const std::set<std::string> kMatrices = {"embed.weight", "fc1.weight"};
INSTANTIATE_TEST_SUITE_P(
    , OptimizerParity,
    testing::Values(ParityCase{"adamw_a", "adamw", 0.9, 0.999, 1e-8, 0.05, kMatrices, 1e-6},
                    ParityCase{"adamw_b", "adamw", 0.9, 0.95, 1e-6, 0.1, kMatrices, 1e-6},
                    ParityCase{"lamb_a", "lamb", 0.9, 0.999, 1e-6, 0.01, {}, 2e-6},
                    ParityCase{"lamb_b", "lamb", 0.9, 0.999, 1e-6, 0.05, kMatrices, 2e-6}),
    [](const auto& param_info) { return param_info.param.file; });

TEST(Clip, MatchesParityCases) {
  const auto path = kParity / "clip.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const SafetensorsFile file(path);
  for (const std::string name : {"clip0", "clip1", "clip2", "clip3"}) {
    const std::string prefix = name + ".grad.";
    std::vector<Parameter> parameters;
    for (const auto& [key, entry] : file.entries()) {
      if (!key.starts_with(prefix)) continue;
      parameters.push_back(
          {.name = key.substr(prefix.size()), .tensor = leaf(at::zeros(entry.shape, at::kFloat))});
    }
    OptimizerOptions options;  // momentum 0, lr 1: the parameter becomes minus the clipped gradient
    options.name = "sgd";
    options.momentum = 0.0;
    const Optimizer optimizer(options);
    FlatModel model(parameters, optimizer);
    for (auto& parameter : model.parameters) {
      parameter.tensor.mutable_grad().copy_(file.read(prefix + parameter.name));
    }
    const double norm =
        model.step(optimizer, {.lr = 1.0}, file.read(name + ".max_norm").item<double>());
    EXPECT_NEAR(norm / file.read(name + ".total_norm_f64").item<double>(), 1.0, 1e-6) << name;
    for (const auto& parameter : model.parameters) {
      const at::Tensor expected = file.read(name + ".clipped." + parameter.name);
      const double bound = 2e-6 * expected.abs().max().item<double>();
      EXPECT_LE((parameter.tensor.detach() + expected).abs().max().item<double>(), bound)
          << name << " " << parameter.name;
    }
  }
}

}  // namespace
}  // namespace kiln
