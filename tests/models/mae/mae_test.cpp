#include "models/mae/mae.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/philox.h"
#include "core/torch.h"
#include "models/layers/parameters.h"
#include "models/mae/mae_options.h"

namespace kiln {
namespace {

// 4 x 4 patches of 4 pixels, four of them visible.
MaeShape small_shape() {
  MaeOptions options;
  options.preset = "tiny";
  options.dim = 32;
  options.heads = 2;
  options.depth = 2;
  options.resolve();
  DatasetInfo data;
  data.height = data.width = 16;
  data.channels = 3;
  return options.shape(data);
}

at::Tensor random_images(std::int64_t count) {
  at::Tensor values = at::empty({count, 16, 16, 3});
  fill_uniform(Philox(5, Purpose::kNoise, 0), values.data_ptr<float>(), values.numel());
  return values.mul_(256).to(at::kByte);
}

MaeObjective make_objective(at::ScalarType type = at::kFloat) {
  MaeObjective objective(small_shape(), PixelNormalisation({0.5, 0.4, 0.3}, {0.2, 0.3, 0.4}),
                         at::TensorOptions(type));
  objective.initialise(1);
  return objective;
}

Batch make_batch(const MaeObjective& objective, std::int64_t first, const at::Tensor& images) {
  Batch batch;
  batch.first_position = first;
  batch.num_samples = images.size(0);
  batch.tensors["image"] = images;
  objective.prepare(batch, 9);
  return batch;
}

double loss_of(MaeObjective& objective, const Batch& batch) {
  const at::NoGradGuard no_grad;
  return objective.loss(batch, StepContext{}, 0)->value.item<double>();
}

std::int64_t count_on_meta(const char* preset, bool has_buffers) {
  MaeOptions options;
  options.preset = preset;
  options.resolve();
  DatasetInfo data;
  data.height = data.width = 224;
  data.channels = 3;
  MaeObjective objective(options.shape(data), PixelNormalisation({}, {}),
                         at::TensorOptions(at::kMeta));
  std::int64_t count = 0;
  for (const Parameter& parameter : objective.parameters(0)) count += parameter.tensor.numel();
  if (has_buffers) {
    for (const Buffer& buffer : objective.buffers()) count += buffer.tensor.numel();
  }
  return count;
}

TEST(Mae, HasThePublishedParameterCounts) {
  EXPECT_EQ(count_on_meta("base", false), 111'655'680);
  EXPECT_EQ(count_on_meta("base", true), 111'907'840);
  EXPECT_EQ(count_on_meta("large", false), 329'239'296);
  EXPECT_EQ(count_on_meta("large", true), 329'541'888);
  EXPECT_EQ(count_on_meta("huge", false), 656'613'964);
  EXPECT_EQ(count_on_meta("huge", true), 657'074'508);
}

TEST(Mae, ListsEveryParameterOnce) {
  MaeObjective objective = make_objective();
  std::set<std::string> listed;
  for (const Parameter& parameter : objective.parameters(0)) {
    EXPECT_TRUE(listed.insert(parameter.name).second) << parameter.name;
  }
  std::set<std::string> owned;
  for (const auto& item : objective.module().named_parameters()) owned.insert(item.key());
  EXPECT_EQ(listed, owned);
}

TEST(Mae, DecaysTokensAndMatricesButNoVectors) {
  MaeObjective objective = make_objective();
  for (const Parameter& parameter : objective.parameters(0)) {
    const bool is_vector =
        parameter.name.ends_with(".bias") || parameter.name.find("norm") != std::string::npos;
    EXPECT_EQ(parameter.has_decay, !is_vector) << parameter.name;
  }
}

TEST(Mae, KeepsTheSameNumberOfPatchesOfEverySample) {
  MaeOptions options;
  for (const auto& [preset, pixels, visible] :
       {std::tuple{"tiny", 28, 12}, {"base", 224, 49}, {"huge", 224, 64}}) {
    options = MaeOptions{};
    options.preset = preset;
    options.resolve();
    DatasetInfo data;
    data.height = data.width = pixels;
    EXPECT_EQ(options.shape(data).num_visible(), visible) << preset;
  }
}

TEST(Mae, ShufflesByRisingNoise) {
  const std::vector<float> noise = {0.3f, 0.1f, 0.9f, 0.5f};
  EXPECT_EQ(shuffle_by_noise(noise), (std::vector<std::int64_t>{1, 0, 3, 2}));
}

TEST(Mae, ShufflesAsAStableSortDoes) {
  for (const std::size_t size : {0, 1, 2, 49, 196, 1000}) {
    std::vector<float> noise(size);
    fill_uniform(Philox(7, Purpose::kNoise, 0), noise.data(), std::ssize(noise));
    for (const float levels : {0.0f, 1.0f, 10.0f, 1e9f}) {  // few levels: many are equal
      std::vector<float> rounded = noise;
      for (float& value : rounded) value = std::round(value * levels) / std::max(levels, 1.0f);
      std::vector<std::int64_t> expected(size);
      std::iota(expected.begin(), expected.end(), 0);
      std::ranges::stable_sort(
          expected, {}, [&](std::int64_t i) { return rounded[static_cast<std::size_t>(i)]; });
      EXPECT_EQ(shuffle_by_noise(rounded), expected) << size << " values, " << levels << " levels";
    }
  }
}

TEST(Mae, MasksEveryPatchEquallyOften) {
  const MaeObjective objective = make_objective();
  constexpr std::int64_t kDraws = 40'000;  // standard deviation of each mean: 0.0022
  const Batch batch =
      make_batch(objective, 0, at::zeros({1, 16, 16, 3}, at::kByte).expand({kDraws, 16, 16, 3}));
  const at::Tensor restore = batch.at("ids_shuffle").argsort(std::int64_t{1});
  const at::Tensor masked = restore.ge(4).to(at::kDouble).mean(0);
  EXPECT_LT((masked - 0.75).abs().max().item<double>(), 0.01);
}

TEST(Mae, MasksDependOnPositionsAlone) {
  const MaeObjective objective = make_objective();
  const at::Tensor whole = make_batch(objective, 10, random_images(8)).at("ids_shuffle");
  const at::Tensor part = make_batch(objective, 13, random_images(2)).at("ids_shuffle");
  EXPECT_TRUE(whole.narrow(0, 3, 2).equal(part));
}

// Pixels [B, H, W, C] with the patches of one kind inverted.
at::Tensor invert(const Batch& batch, bool is_masked_kind) {
  const at::Tensor ids = batch.at("ids_shuffle");
  const at::Tensor chosen = is_masked_kind ? ids.narrow(1, 4, 12) : ids.narrow(1, 0, 4);
  at::Tensor patches = patchify(batch.at("image"), 4).clone();
  const at::Tensor rows = chosen.unsqueeze(-1).expand({-1, -1, patches.size(2)});
  patches.scatter_(1, rows, 255 - patches.gather(1, rows));
  return unpatchify(patches, 4, 16, 16);
}

at::Tensor visible_patches(const at::Tensor& images, const at::Tensor& ids_shuffle) {
  const at::Tensor rows = ids_shuffle.narrow(1, 0, 4).unsqueeze(-1).expand({-1, -1, 48});
  return patchify(images, 4).gather(1, rows);
}

TEST(Mae, EncoderNeverSeesMaskedPatches) {
  MaeShape raw = small_shape();
  raw.has_normalised_targets = false;  // else means and deviations of masked patches are put back
  MaeObjective objective(raw, PixelNormalisation({0.5}, {0.25}), at::TensorOptions());
  objective.initialise(1);
  Batch batch = make_batch(objective, 0, random_images(3));
  const at::Tensor before = objective.reconstruct(batch).reconstructed;
  batch.tensors["image"] = invert(batch, true);
  EXPECT_TRUE(before.equal(objective.reconstruct(batch).reconstructed));
}

TEST(Mae, TargetsAreMaskedPatchesOnly) {
  MaeShape raw = small_shape();
  raw.has_normalised_targets = false;
  MaeObjective objective(raw, PixelNormalisation({0.5}, {0.25}), at::TensorOptions());
  objective.initialise(1);
  // With a prediction of zero everywhere the loss depends on its targets alone.
  const at::NoGradGuard no_grad;
  objective.network().decoder_pred->weight.zero_();
  Batch batch = make_batch(objective, 0, random_images(3));
  const double before = loss_of(objective, batch);
  const at::Tensor visible_changed = invert(batch, false), masked_changed = invert(batch, true);
  batch.tensors["image"] = visible_changed;
  EXPECT_EQ(loss_of(objective, batch), before);
  batch.tensors["image"] = masked_changed;
  EXPECT_NE(loss_of(objective, batch), before);
}

TEST(Mae, LossesOfMicroBatchesAddUp) {
  MaeObjective objective = make_objective(at::kDouble);
  const at::Tensor images = random_images(6);
  const Batch whole = make_batch(objective, 0, images);
  double sum = 0;
  for (const auto& [first, count] : {std::pair{0, 2}, {2, 4}}) {
    Batch part = make_batch(objective, first, images.narrow(0, first, count));
    part.denominators = whole.denominators;
    sum += loss_of(objective, part);
  }
  EXPECT_NEAR(sum, loss_of(objective, whole), 1e-12);
}

TEST(Mae, NormalisedTargetsHaveUnbiasedUnitVariance) {
  const at::Tensor patches = random_images(2).to(at::kDouble).view({2, 16, 48});
  const at::Tensor target = mae_target(patches, true);
  EXPECT_LT(target.mean(-1).abs().max().item<double>(), 1e-12);
  EXPECT_LT((target.var(-1, /*unbiased=*/true) - 1).abs().max().item<double>(), 1e-8);
}

TEST(Mae, WeightsDependOnTheSeedAndNotOnThreads) {
  MaeObjective first = make_objective(), second = make_objective(), other = make_objective();
  at::set_num_threads(1);
  second.initialise(1);
  at::set_num_threads(2);
  other.initialise(2);
  const auto a = first.parameters(0), b = second.parameters(0), c = other.parameters(0);
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(a[i].tensor.equal(b[i].tensor)) << a[i].name;
  EXPECT_FALSE(a[0].tensor.equal(c[0].tensor));
}

TEST(Mae, InitialisesQkvOnTheXavierBound) {
  MaeObjective objective = make_objective();
  const at::Tensor& weight = objective.network().blocks[0]->attn->qkv->weight;  // [96, 32]
  const double bound = std::sqrt(6.0 / (96 + 32));
  const double largest = weight.abs().max().item<double>();
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.99 * bound);
  EXPECT_NEAR(weight.std().item<double>(), bound / std::sqrt(3.0), 0.02 * bound);
}

TEST(Mae, BFloat16LossIsCloseToFloat32) {
  MaeObjective exact = make_objective(), rounded = make_objective(at::kBFloat16);
  const Batch batch = make_batch(exact, 0, random_images(4));
  // bf16 has 8 bits of mantissa; errors of single weights average out.
  EXPECT_NEAR(loss_of(rounded, batch), loss_of(exact, batch), 0.01);
}

TEST(Mae, ReconstructionKeepsVisiblePatches) {
  MaeObjective objective = make_objective();
  const Batch batch = make_batch(objective, 0, random_images(3));
  const auto pictures = objective.reconstruct(batch);
  EXPECT_TRUE(pictures.original.equal(batch.at("image")));
  const at::Tensor is_hidden = pictures.masked.ne(pictures.original);
  // 12 of 16 patches are hidden; a pixel that happens to be grey may add to the equal ones.
  EXPECT_NEAR(is_hidden.to(at::kDouble).mean().item<double>(), 0.75, 0.02);
  const at::Tensor ids = batch.at("ids_shuffle");
  EXPECT_TRUE(
      visible_patches(pictures.reconstructed, ids).equal(visible_patches(pictures.original, ids)));
}

TEST(Mae, FeaturesAreTokenMeanAndClassToken) {
  MaeObjective objective = make_objective();
  Batch batch;
  batch.num_samples = 2;
  batch.tensors["image"] = random_images(2);
  const at::Tensor mean = objective.features(batch, "mean"), cls = objective.features(batch, "cls");
  EXPECT_EQ(mean.sizes(), (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(cls.sizes(), (std::vector<std::int64_t>{2, 32}));
  EXPECT_FALSE(mean.equal(cls));
  EXPECT_FALSE(mean.requires_grad());
}

TEST(Mae, NamesWhatIsWrongWithAShape) {
  MaeShape shape = small_shape();
  shape.encoder.height = 17;
  shape.decoder_heads = 7;
  shape.mask_ratio = 1.0;
  EXPECT_EQ(shape.problems().size(), 3u);
  EXPECT_TRUE(small_shape().problems().empty());
}

}  // namespace
}  // namespace kiln
