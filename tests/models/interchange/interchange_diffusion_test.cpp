#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/torch.h"
#include "models/autoencoder/objective.h"
#include "models/diffusion/objective.h"
#include "models/dit/dit.h"
#include "models/interchange/huggingface.h"
#include "models/interchange/names.h"
#include "models/layers/parameters.h"
#include "models/unet/unet.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("kiln_interchange_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void fill(Objective& objective) {
  const at::NoGradGuard no_grad;
  std::int64_t index = 0;
  for (Parameter& p : objective.parameters(0)) {
    p.tensor.copy_(normal(p.tensor.sizes(), ++index));
  }
}

void expect_exact_round_trip(Objective& objective) {
  fill(objective);
  const Folder folder;
  export_huggingface(objective, folder.path());
  const ImportedModel imported = import_huggingface(folder.path());
  const NamedTensors before = named_tensors(objective.module());
  const NamedTensors after = named_tensors(imported.objective->module());
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [name, value] : before) EXPECT_TRUE(value.equal(after.at(name))) << name;
}

TEST(DiffusersFolder, AutoencodersRoundTripExactly) {
  for (const char* preset : {"tiny_kl", "tiny_vq"}) {
    AutoencoderOptions options;
    options.preset = preset;
    options.attention_levels = {1};
    options.resolve();
    AutoencoderObjective objective(options.shape(3), options, at::TensorOptions());
    expect_exact_round_trip(objective);
  }
}

DatasetInfo data_of(std::size_t num_classes) {
  DatasetInfo data;
  data.kind = "latent";
  data.channels = 4;
  data.height = data.width = 8;
  data.class_names.resize(num_classes);
  return data;
}

std::unique_ptr<LatentDiffusion> diffusion(const char* preset,
                                           const FormulationOptions& formulation,
                                           const char* conditioning) {
  LatentDiffusionOptions options;
  options.preset = preset;
  options.conditioning = conditioning;
  options.context_dim = std::string(conditioning) == "text" ? 24 : 0;
  const DatasetInfo data = data_of(std::string(conditioning) == "class" ? 10 : 0);
  EXPECT_TRUE(options.resolve(data).empty());
  std::shared_ptr<DiffusionNetwork> network;
  if (options.is_dit()) {
    network = std::make_shared<Dit>(options.dit_shape(data, formulation.learn_variance),
                                    at::TensorOptions());
  } else {
    network = std::make_shared<UNet>(options.unet_shape(data, formulation.learn_variance),
                                     at::TensorOptions());
  }
  return std::make_unique<LatentDiffusion>(network, options, formulation, data);
}

TEST(DiffusersFolder, NetworksOfDiffusionRoundTripExactly) {
  expect_exact_round_trip(*diffusion("unet_tiny", {}, "class"));
  expect_exact_round_trip(*diffusion("unet_tiny", {}, "text"));
  FormulationOptions learned;
  learned.learn_variance = true;
  expect_exact_round_trip(*diffusion("dit_tiny", learned, "class"));
}

TEST(DiffusersFolder, KeepsHowTheModelWasTrained) {
  FormulationOptions flow;
  flow.formulation = "flow";
  flow.shift = 3.0;
  const auto model = diffusion("unet_tiny", flow, "none");
  fill(*model);
  const Folder folder;
  export_huggingface(*model, folder.path());
  EXPECT_TRUE(fs::exists(folder.path() / "scheduler_config.json"));
  const ImportedModel imported = import_huggingface(folder.path());
  const auto& back = dynamic_cast<const LatentDiffusion&>(*imported.objective);
  EXPECT_EQ(back.formulation().options().formulation, "flow");
  EXPECT_EQ(back.formulation().options().shift, 3.0);
}

TEST(DiffusersFolder, RefusesTransformersWhoseEmbeddersDiffer) {
  const NameTable table = {{"t", {"block.0.t", "block.1.t"}, NameRule::Kind::kCopies}};
  EXPECT_NO_THROW(
      to_ours(table, {{"block.0.t", at::ones({2})}, {"block.1.t", at::ones({2})}}, "x"));
  EXPECT_THROW(to_ours(table, {{"block.0.t", at::ones({2})}, {"block.1.t", at::zeros({2})}}, "x"),
               Error);
}

}  // namespace
}  // namespace kiln
