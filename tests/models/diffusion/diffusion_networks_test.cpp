#include <gtest/gtest.h>

#include "core/torch.h"
#include "models/diffusion/options.h"
#include "models/dit/dit.h"
#include "models/unet/unet.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

// Tensors this small gain nothing from threads.
const bool kHasOneThread = [] {
  at::set_num_threads(1);
  return true;
}();

DatasetInfo latents(std::int64_t channels, std::int64_t size, std::size_t num_classes = 0) {
  DatasetInfo data;
  data.kind = "latent";
  data.channels = channels;
  data.height = data.width = size;
  data.class_names.resize(num_classes);
  return data;
}

std::int64_t count(const torch::nn::Module& network) {
  std::int64_t sum = 0;
  for (const at::Tensor& tensor : network.parameters()) sum += tensor.numel();
  return sum;
}

LatentDiffusionOptions resolved(const char* preset, const DatasetInfo& data) {
  LatentDiffusionOptions options;
  options.preset = preset;
  EXPECT_TRUE(options.resolve(data).empty());
  return options;
}

std::int64_t unet_parameters(const char* preset, std::int64_t channels) {
  const DatasetInfo data = latents(channels, 64);
  LatentDiffusionOptions options = resolved(preset, data);
  if (options.context_dim > 0) options.conditioning = "text";
  return count(UNet(options.unet_shape(data, false), at::TensorOptions(at::kMeta)));
}

TEST(UNet, PublishedPresetsHaveThePublishedNumberOfParameters) {
  EXPECT_EQ(unet_parameters("unet_ldm4", 3), 274'056'163);
  EXPECT_EQ(unet_parameters("unet_ldm4_cin", 3), 400'920'579);
  EXPECT_EQ(unet_parameters("unet_ldm8", 4), 294'966'916);
  EXPECT_EQ(unet_parameters("unet_sd", 4), 859'520'964);
  EXPECT_EQ(unet_parameters("unet_ddpm", 3), 35'746'307);
}

std::int64_t dit_parameters(const char* preset) {
  const DatasetInfo data = latents(4, 32, 1000);
  const Dit network(resolved(preset, data).dit_shape(data, true), at::TensorOptions(at::kMeta));
  return count(network) + network.positions.numel();  // published counts include the fixed table
}

TEST(Dit, PublishedPresetsHaveThePublishedNumberOfParameters) {
  EXPECT_EQ(dit_parameters("dit_s"), 32'963'360);
  EXPECT_EQ(dit_parameters("dit_b"), 130'512'416);
  EXPECT_EQ(dit_parameters("dit_l"), 458'102'816);
  EXPECT_EQ(dit_parameters("dit_xl"), 675'129'632);
}

at::Tensor run(const DiffusionNetwork& network, const at::Tensor& labels = {}) {
  const at::NoGradGuard no_grad;
  DropoutStream none;
  return network.forward(normal({2, 4, 8, 8}, 1), at::tensor({7.0, 501.0}), {labels, {}}, none);
}

TEST(UNet, BeginsWithZeroOutput) {
  const DatasetInfo data = latents(4, 8);
  UNet network(resolved("unet_tiny", data).unet_shape(data, false), at::TensorOptions(at::kFloat));
  network.initialise(1);
  EXPECT_EQ(run(network).abs().max().item<float>(), 0.0f);
}

TEST(Dit, BeginsWithZeroOutput) {
  const DatasetInfo data = latents(4, 8, 10);
  Dit network(resolved("dit_tiny", data).dit_shape(data, true), at::TensorOptions(at::kFloat));
  network.initialise(1);
  const at::Tensor out = run(network, at::tensor({1, 10}, at::kLong));
  EXPECT_EQ(out.sizes(), (at::IntArrayRef{2, 8, 8, 8}));
  EXPECT_EQ(out.abs().max().item<float>(), 0.0f);
}

TEST(Dit, InitialValuesDependOnSeedAndParameterAlone) {
  const DatasetInfo data = latents(4, 8, 10);
  const DitShape shape = resolved("dit_tiny", data).dit_shape(data, false);
  Dit a(shape, at::TensorOptions(at::kFloat)), b(shape, at::TensorOptions(at::kFloat));
  a.initialise(1);
  b.initialise(1);
  for (std::size_t i = 0; i < a.trainable().size(); ++i) {
    EXPECT_TRUE(a.trainable()[i].tensor.equal(b.trainable()[i].tensor)) << a.trainable()[i].name;
  }
  b.initialise(2);
  EXPECT_FALSE(a.blocks[0]->attn->qkv->weight.equal(b.blocks[0]->attn->qkv->weight));
}

void fill(DiffusionNetwork& network) {
  const at::NoGradGuard no_grad;
  std::int64_t index = 0;
  for (Parameter& p : network.trainable()) p.tensor.add_(normal(p.tensor.sizes(), ++index) * 0.1);
}

TEST(UNet, SeesTheClassEitherWay) {
  const DatasetInfo data = latents(4, 8, 10);
  for (const bool as_context : {false, true}) {
    UNetShape shape = resolved("unet_tiny", data).unet_shape(data, false);
    shape.has_label_context = as_context;
    shape.context_dim = as_context ? 16 : 0;
    UNet network(shape, at::TensorOptions(at::kFloat));
    network.initialise(1);
    fill(network);
    const at::Tensor one = run(network, at::tensor({1, 1}, at::kLong));
    const at::Tensor other = run(network, at::tensor({1, 2}, at::kLong));
    EXPECT_TRUE(one[0].equal(other[0])) << as_context;
    EXPECT_FALSE(one[1].equal(other[1])) << as_context;
  }
}

TEST(UNet, ChangesResolutionByConvolutionsOrWithinBlocks) {
  const DatasetInfo data = latents(4, 8);
  for (const bool in_blocks : {false, true}) {
    for (const std::int64_t padding : {0, 1}) {
      UNetShape shape = resolved("unet_tiny", data).unet_shape(data, false);
      shape.resizes_in_blocks = in_blocks;
      shape.downsample_padding = padding;
      UNet network(shape, at::TensorOptions(at::kFloat));
      network.initialise(1);
      EXPECT_EQ(run(network).sizes(), (at::IntArrayRef{2, 4, 8, 8}));
    }
  }
}

TEST(Options, NameWhatCannotWork) {
  const auto problems = [](auto change, const DatasetInfo& data) {
    LatentDiffusionOptions options;
    change(options);
    return options.resolve(data).size();
  };
  EXPECT_EQ(problems([](auto&) {}, latents(4, 8)), 0u);
  EXPECT_EQ(problems([](auto& o) { o.preset = "dit_m"; }, latents(4, 8)), 1u);
  EXPECT_EQ(problems([](auto& o) { o.conditioning = "class"; }, latents(4, 8)), 1u);
  EXPECT_EQ(problems([](auto& o) { o.num_classes = 5; }, latents(4, 8, 10)), 1u);
  EXPECT_EQ(problems([](auto& o) { o.conditioning = "text"; }, latents(4, 8)), 1u);
  EXPECT_EQ(problems([](auto& o) { o.label_dropout = 1.0; }, latents(4, 8)), 1u);
}

}  // namespace
}  // namespace kiln
