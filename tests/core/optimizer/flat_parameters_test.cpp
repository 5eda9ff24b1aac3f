#include "core/optimizer/flat_parameters.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kBlock = FlatParameters::kBlock;

// Sizes below, at and above a block, in order of execution.
std::vector<Parameter> some_parameters(at::ScalarType type = at::kFloat) {
  std::vector<Parameter> parameters;
  int number = 0;
  for (const std::int64_t numel : {10LL, 16'384LL, 40'000LL, 1LL, 300LL, 16'000LL, 500LL}) {
    const at::Tensor values = torch::arange(numel, at::kFloat).remainder(97) + number;
    parameters.push_back({.name = "p" + std::to_string(number++),
                          .tensor = values.to(type).set_requires_grad(true)});
  }
  return parameters;
}

TEST(FlatParameters, KeepValuesAndShareMemoryWithTheParameters) {
  auto parameters = some_parameters();
  std::vector<at::Tensor> before;
  for (const auto& parameter : parameters) before.push_back(parameter.tensor.detach().clone());
  const FlatParameters flat(parameters, 1 << 16, 1);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(torch::equal(parameters[i].tensor, before[i])) << i;
  }
  const auto& entry = flat.entries().front();
  EXPECT_EQ(entry.name, "p6");  // reverse order of execution
  flat.weights({entry.offset, entry.offset + 1}).fill_(123.0f);
  EXPECT_EQ(parameters[6].tensor[0].item<float>(), 123.0f);
}

TEST(FlatParameters, BackwardAccumulatesIntoFlatGradients) {
  auto parameters = some_parameters();
  FlatParameters flat(parameters, 1 << 30, 1);
  for (int i = 0; i < 2; ++i) (parameters[2].tensor * 3).sum().backward();
  const auto& entry = flat.entries()[4];
  EXPECT_EQ(entry.name, "p2");
  const auto gradients = flat.gradients({entry.offset, entry.offset + entry.numel});
  EXPECT_TRUE(gradients.eq(6.0f).all().item<bool>());
  EXPECT_EQ(flat.bucket_gradients(0).sum().item<float>(), 6.0f * 40'000);  // nothing elsewhere
  flat.zero_gradients();
  EXPECT_EQ(parameters[2].tensor.grad().abs().sum().item<float>(), 0.0f);
}

TEST(FlatParameters, FlatOrderDoesNotDependOnRanks) {
  const FlatParameters one(some_parameters(), 1 << 16, 1);
  const FlatParameters three(some_parameters(), 1 << 16, 3);
  ASSERT_EQ(one.buckets().size(), three.buckets().size());
  ASSERT_GT(one.buckets().size(), 1u);
  for (std::size_t i = 0; i < one.entries().size(); ++i) {
    EXPECT_EQ(one.entries()[i].offset, three.entries()[i].offset);
  }
  EXPECT_EQ(one.size(), three.size());
}

TEST(FlatParameters, LargeTensorsBeginAtBlocksAndSmallOnesLieWithinOne) {
  const FlatParameters flat(some_parameters(), 1 << 16, 1);
  for (const auto& entry : flat.entries()) {
    if (entry.numel >= kBlock) {
      EXPECT_EQ(entry.offset % kBlock, 0) << entry.name;
    } else {
      EXPECT_EQ(entry.offset / kBlock, (entry.offset + entry.numel - 1) / kBlock) << entry.name;
    }
  }
}

TEST(FlatParameters, SlicesOfABucketCoverItOnce) {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    const FlatParameters flat(some_parameters(), 1 << 16, ranks);
    for (std::size_t bucket = 0; bucket < flat.buckets().size(); ++bucket) {
      std::int64_t end = flat.buckets()[bucket].range.begin;
      EXPECT_EQ(flat.bucket_weights(bucket).numel() % (ranks * kBlock), 0);
      for (int rank = 0; rank < ranks; ++rank) {
        const Range slice = flat.slice(bucket, rank, ranks);
        EXPECT_EQ(slice.begin, end);
        EXPECT_EQ(slice.size() % kBlock, 0);
        end = slice.end;
      }
      EXPECT_EQ(end, flat.buckets()[bucket].range.end);
    }
  }
}

// The sums of a tensor are cut alike whatever buckets and slices are: as (name, elements, number).
TEST(FlatParameters, SegmentsDoNotDependOnBucketsOrRanks) {
  using Cut = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t>;
  const auto cuts = [](std::int64_t bucket_bytes, int ranks) {
    const FlatParameters flat(some_parameters(), bucket_bytes, ranks);
    std::vector<Cut> all;
    for (std::size_t bucket = 0; bucket < flat.buckets().size(); ++bucket) {
      for (int rank = 0; rank < ranks; ++rank) {
        for (const auto& segment : flat.segments(flat.slice(bucket, rank, ranks))) {
          const auto& entry = flat.entries()[segment.entry];
          all.push_back({entry.name, segment.range.begin - entry.offset,
                         segment.range.end - entry.offset, segment.sum});
        }
      }
    }
    return all;
  };
  const auto expected = cuts(1 << 30, 1);
  EXPECT_EQ(expected.size(), 9u);  // 40,000 elements in three, the others in one each
  EXPECT_EQ(cuts(1 << 16, 1), expected);
  EXPECT_EQ(cuts(1, 3), expected);
  EXPECT_EQ(cuts(1 << 17, 8), expected);
}

TEST(FlatParameters, HoldBfloat16) {
  auto parameters = some_parameters(at::kBFloat16);
  const FlatParameters flat(parameters, 1 << 16, 2);
  EXPECT_EQ(flat.weights({0, kBlock}).scalar_type(), at::kBFloat16);
  (parameters[0].tensor * 2).sum().backward();
  EXPECT_EQ(flat.bucket_gradients(flat.buckets().size() - 1).sum().item<float>(), 20.0f);
}

TEST(FlatParameters, RefuseRangesAcrossBuckets) {
  const FlatParameters flat(some_parameters(), 1 << 16, 1);
  EXPECT_THROW(flat.weights({0, flat.size()}), std::logic_error);
}

}  // namespace
}  // namespace kiln
