#include <gtest/gtest.h>

#include "core/torch.h"
#include "models/measures/knn.h"
#include "models/measures/linear_probe.h"
#include "tests/support/normal.h"

namespace kiln {
namespace {

// Three classes around three far-apart centres.
LabelledFeatures clusters(std::int64_t position, std::int64_t rows) {
  const at::Tensor labels = at::arange(rows, at::kLong).remainder(3);
  const at::Tensor centres = at::eye(3, 8) * 20;
  return {centres.index_select(0, labels) + normal({rows, 8}, position), labels};
}

TEST(Knn, FindsClusters) {
  const LabelledFeatures train = clusters(0, 90), test = clusters(1, 300);
  EXPECT_EQ(accuracy(knn_predict(train, test.features, 3), test.labels), 1.0);
}

TEST(Knn, WeighsVotesByCosine) {
  // One neighbour at cosine 1 against two at cosine 0.8: exp(0.2 / T) against 2.
  const LabelledFeatures train = {at::tensor({1.0, 0.0, 0.8, 0.6, 0.8, -0.6}).view({3, 2}),
                                  at::tensor({0, 1, 1}, at::kLong)};
  const at::Tensor query = at::tensor({3.0, 0.0}).view({1, 2});
  const auto vote = [&](double temperature) {
    return knn_predict(train, query, 2, {.k = 3, .temperature = temperature}).item<std::int64_t>();
  };
  const double balance = 0.2 / std::log(2.0);
  EXPECT_EQ(vote(0.99 * balance), 0);
  EXPECT_EQ(vote(1.01 * balance), 1);
}

TEST(Knn, ScaleOfFeaturesDoesNotMatter) {
  const LabelledFeatures train = {normal({50, 8}, 0), at::arange(50, at::kLong).remainder(4)};
  const at::Tensor queries = normal({600, 8}, 1);
  const at::Tensor scaled = knn_predict({train.features * 8, train.labels}, queries * 0.5, 4);
  EXPECT_TRUE(scaled.equal(knn_predict(train, queries, 4)));
}

TEST(LinearProbe, SeparatesLinearClasses) {
  const at::Tensor direction = normal({8, 1}, 0);
  const auto labelled = [&](std::int64_t position, std::int64_t rows) {
    const at::Tensor x = normal({rows, 8}, position);
    return LabelledFeatures{x, x.mm(direction).squeeze(1).gt(0).to(at::kLong)};
  };
  const LabelledFeatures train = labelled(1, 2'000), test = labelled(2, 1'000);
  const LinearProbe probe = LinearProbe::fit(train, 2, {.weight_decay = 1e-4});
  EXPECT_GT(accuracy(probe.predict(test.features), test.labels), 0.98);
}

TEST(LinearProbe, ScaleOfFeaturesDoesNotMatter) {
  const LabelledFeatures train = clusters(0, 90);
  const LinearProbe plain = LinearProbe::fit(train, 3);
  const LinearProbe scaled = LinearProbe::fit({train.features * 1'000 + 5, train.labels}, 3);
  const at::Tensor queries = clusters(1, 60).features;
  EXPECT_TRUE(at::allclose(plain.scores(queries), scaled.scores(queries * 1'000 + 5), 1e-2, 1e-2));
}

TEST(LinearProbe, StopsWhereThePenalisedGradientVanishes) {
  // Balanced labels that do not depend on the features: the best weights are zero.
  const at::Tensor x = normal({64, 4}, 0);
  const LabelledFeatures train = {at::cat({x, x}),
                                  at::cat({at::zeros({64}, at::kLong), at::ones({64}, at::kLong)})};
  const LinearProbe probe = LinearProbe::fit(train, 2);
  EXPECT_LT(probe.scores(x).abs().max().item<double>(), 1e-4);
}

}  // namespace
}  // namespace kiln
