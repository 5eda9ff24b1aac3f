#include "data/latents/latent_source.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "data/loader.h"
#include "data/store/shard_writer.h"
#include "tests/data/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

TEST(LatentSource, ReadsMomentsAndLabels) {
  const TemporaryFolder folder;
  const at::Tensor moments = (at::arange(5 * 4 * 3 * 2).view({5, 4, 3, 2}) / 8).to(at::kHalf);
  Manifest manifest;
  manifest.kind = "latent";
  manifest.fields["moments"] = {DType::kFloat16, {4, 3, 2}, false, false, "raw"};
  manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
  DatasetWriter writer(folder / "d", manifest, 2 * 52);
  for (std::int64_t i = 0; i < 5; ++i) {
    writer.append("moments", {static_cast<const std::uint8_t*>(moments[i].data_ptr()), 48});
    writer.append_value<std::int32_t>("label", static_cast<std::int32_t>(3 * i));
    writer.end_sample();
  }
  EXPECT_EQ(writer.finish().shards.size(), 3u);
  const auto dataset = std::make_shared<const Dataset>(folder / "d");
  const Batch batch = DatasetReader(make_latent_source(dataset), 2).read(0, 5);
  EXPECT_TRUE(at::equal(batch.at("moments"), moments));
  EXPECT_TRUE(at::equal(batch.at("label"), at::arange(5) * 3));
  EXPECT_EQ(describe_latents(*dataset).channels, 2);
}

TEST(LatentSource, ReadsTheTokensOfATextWhereThereAreSome) {
  const TemporaryFolder folder;
  const at::Tensor moments = at::zeros({3, 2, 2, 2}, at::kHalf);
  const at::Tensor context = at::arange(3 * 4 * 5).view({3, 4, 5}).to(at::kHalf);
  Manifest manifest;
  manifest.kind = "latent";
  manifest.fields["moments"] = {DType::kFloat16, {2, 2, 2}, false, false, "raw"};
  manifest.fields["context"] = {DType::kFloat16, {4, 5}, false, false, "raw"};
  DatasetWriter writer(folder / "d", manifest, 1 << 20);
  for (std::int64_t i = 0; i < 3; ++i) {
    writer.append("moments", {static_cast<const std::uint8_t*>(moments[i].data_ptr()), 16});
    writer.append("context", {static_cast<const std::uint8_t*>(context[i].data_ptr()), 40});
    writer.end_sample();
  }
  writer.finish();
  const auto dataset = std::make_shared<const Dataset>(folder / "d");
  const Batch batch = DatasetReader(make_latent_source(dataset), 2).read(1, 3);
  EXPECT_TRUE(at::equal(batch.at("context"), context.narrow(0, 1, 2)));
}

TEST(LatentSource, OtherKindsAreRefused) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "d", 2, 4);
  EXPECT_THROW(describe_latents(Dataset(folder / "d")), Error);
}

}  // namespace
}  // namespace kiln
