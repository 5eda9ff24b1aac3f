// What models say a forward pass costs, against figures that others published. Those count
// multiply-adds, and call them FLOPs.

#include <gtest/gtest.h>

#include "core/torch.h"
#include "models/diffusion/options.h"
#include "models/dit/dit.h"
#include "models/mae/mae.h"
#include "models/resnet/resnet_classifier.h"
#include "models/unet/unet.h"
#include "models/vit/vit_classifier.h"

namespace kiln {
namespace {

constexpr std::int64_t kSamples = 2;

at::TensorOptions nowhere() { return at::TensorOptions().device(at::kMeta); }

PixelNormalisation pixels() { return {{0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}}; }

Batch pictures(std::int64_t size) {
  Batch batch;
  batch.num_samples = kSamples;
  batch.tensors["image"] = at::empty({kSamples, size, size, 3}, nowhere().dtype(at::kByte));
  return batch;
}

/// Multiply-adds of a sample, forward.
double multiply_adds(const Workload::Work& work) {
  double flops = 0.0;
  for (const auto& op : work.operators) flops += op.count * op.flops;
  return flops / 2.0 / kSamples;
}

double multiply_adds(const DiffusionNetwork& network, std::int64_t size) {
  WorkList list(network.trainable());
  network.add_work(list, {.samples = kSamples, .height = size, .width = size});
  return multiply_adds(std::move(list).work());
}

// torchvision's table of models: 4.09 and 1.81 GFLOPS, 25.56 and 11.69 million parameters.
TEST(Work, ResNetsCostWhatTorchvisionSays) {
  for (const auto& [layers, giga, million] :
       {std::tuple{50, 4.09, 25.56}, std::tuple{18, 1.81, 11.69}}) {
    ResNetObjective model(resnet_shape(layers, 1.0), 1000, {}, pixels(), nowhere());
    const Workload::Work work = model.work(pictures(224));
    EXPECT_NEAR(multiply_adds(work) * 1e-9, giga, 0.01) << layers;
    EXPECT_NEAR(static_cast<double>(work.num_parameters) * 1e-6, million, 0.01) << layers;
  }
}

// torchvision: 17.56 GFLOPS, 86.57 million parameters; with attention's products.
TEST(Work, AVisionTransformerCostsWhatTorchvisionSays) {
  VitShape shape{.height = 224, .width = 224};
  shape.has_learned_positions = true;
  ClassifierObjective model(classifier_shape(shape, Pool::kCls, 1000), {}, pixels(), nowhere());
  const Workload::Work work = model.work(pictures(224));
  EXPECT_NEAR(multiply_adds(work) * 1e-9, 17.56, 0.03);
  EXPECT_NEAR(static_cast<double>(work.num_parameters) * 1e-6, 86.57, 0.01);
  EXPECT_EQ(work.training_flops(), 3.0 * 2.0 * kSamples * multiply_adds(work));
}

// Peebles and Xie, arXiv 2212.09748, table 1 and 4: 118.64 for XL/2, 6.06 for S/2 at 256 pixels.
TEST(Work, DiffusionTransformersCostWhatTheirPaperSays) {
  DitShape shape;  // XL/2
  shape.num_labels = 1001;
  EXPECT_NEAR(multiply_adds(Dit(shape, nowhere()), 32) * 1e-9, 118.64, 0.1);
  shape.dim = 384;
  shape.depth = 12;
  shape.heads = 6;
  EXPECT_NEAR(multiply_adds(Dit(shape, nowhere()), 32) * 1e-9, 6.06, 0.02);
}

// Fang et al., arXiv 2305.10924, table 1: DDPM on CIFAR-10, 6.1 G multiply-adds of layers with
// weights: their tool does not see the products within attention.
TEST(Work, TheUNetOfDdpmCostsWhatIsPublished) {
  LatentDiffusionOptions options;
  options.name = "pixel_diffusion";
  options.preset = "unet_ddpm";
  DatasetInfo data;
  data.kind = "image";
  data.channels = 3;
  data.height = data.width = 32;
  EXPECT_TRUE(options.resolve(data).empty());
  const UNet network(options.unet_shape(data, false), nowhere());
  WorkList list(network.trainable());
  network.add_work(list, {.samples = kSamples, .height = 32, .width = 32});
  Workload::Work work = std::move(list).work();
  std::erase_if(work.operators, [](const auto& op) { return op.m == 0; });
  EXPECT_NEAR(multiply_adds(work) * 1e-9, 6.1, 0.05);
}

// A masked autoencoder by hand: blocks 12 D^2 n + 2 n^2 D multiply-adds, and its four ends.
TEST(Work, AMaskedAutoencoderSeesAQuarterOfThePatches) {
  MaeShape shape;
  shape.encoder.height = shape.encoder.width = 224;
  MaeObjective model(shape, pixels(), nowhere());
  const auto blocks = [](double tokens, double dim, double depth) {
    return depth * (12.0 * dim * dim * tokens + 2.0 * tokens * tokens * dim);
  };
  const double visible = 49, patches = 196, values = 768;
  const double ends =
      visible * values * 768 + (1 + visible) * 768 * 512 + (patches - visible) * 512 * values;
  const double expected = blocks(1 + visible, 768, 12) + blocks(1 + patches, 512, 8) + ends;
  EXPECT_EQ(multiply_adds(model.work(pictures(224))), expected);
}

}  // namespace
}  // namespace kiln
