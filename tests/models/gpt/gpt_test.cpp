#include "models/gpt/gpt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/error.h"
#include "models/gpt/gpt_names.h"
#include "models/gpt/sampling.h"
#include "models/layers/parameters.h"

namespace kiln {
namespace {

GptShape toy_shape(GptForm form, std::int64_t outputs, std::int64_t positions) {
  GptShape shape;
  shape.form = form;
  shape.vocab_size = outputs + 1;  // the last one starts a sequence
  shape.num_outputs = outputs;
  shape.max_positions = positions;
  shape.dim = 16;
  shape.depth = 2;
  shape.heads = 2;
  return shape;
}

/// Nothing is neutral: the head of kImage and the positions of kMini begin at 0.
std::shared_ptr<Gpt> random_gpt(const GptShape& shape, at::ScalarType type = at::kDouble) {
  auto gpt = std::make_shared<Gpt>(shape, at::TensorOptions(type));
  const at::NoGradGuard no_grad;
  auto generator = at::detail::createCPUGenerator(3);
  for (Parameter& parameter : gpt_parameters(*gpt)) {
    parameter.tensor.normal_(0.0, 0.4, generator);
    if (parameter.tensor.dim() == 1) parameter.tensor.add_(1.0);
  }
  return gpt;
}

at::Tensor random_tokens(const GptShape& shape, std::int64_t B, std::int64_t L) {
  return at::randint(shape.num_outputs, {B, L}, at::detail::createCPUGenerator(5), at::kLong);
}

at::Tensor all_logits(const Gpt& gpt, const at::Tensor& input) {
  DropoutStream none;
  return gpt.logits(gpt.mix(gpt.embed(input, {}, none), /*is_causal=*/true, none));
}

constexpr GptForm kForms[] = {GptForm::kImage, GptForm::kMini};

TEST(Gpt, HasThePublishedNumbersOfParameters) {
  const std::map<std::string, std::int64_t> published = {{"igpt_s", 76'571'648},
                                                         {"igpt_m", 455'157'760},
                                                         {"igpt_l", 1'362'250'752},
                                                         {"vqgan_faces", 304'932'864},
                                                         {"vqgan_cin", 1'410'640'896}};
  for (const auto& [preset, number] : published) {
    GptShape shape;
    ASSERT_TRUE(set_gpt_preset(shape, preset));
    EXPECT_TRUE(shape.problems().empty());
    const Gpt gpt(shape, at::TensorOptions(at::kMeta));
    std::int64_t sum = 0;
    for (const Parameter& parameter : gpt_parameters(gpt)) sum += parameter.tensor.numel();
    EXPECT_EQ(sum, number) << preset;
  }
}

// VIS-3: the derivative of the scores at i by what goes in at j > i is exactly zero, and not zero
// at j <= i.
TEST(Gpt, SeesNothingThatComesLater) {
  for (const GptForm form : kForms) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const GptShape shape = toy_shape(form, 8, 6);
      const auto gpt = random_gpt(shape, type);
      DropoutStream none;
      const at::Tensor embedded =
          gpt->embed(random_tokens(shape, 1, 6), {}, none).detach().requires_grad_(true);
      const at::Tensor logits = gpt->logits(gpt->mix(embedded, true, none));
      for (std::int64_t i = 0; i < 6; ++i) {
        const at::Tensor gradient = torch::autograd::grad({logits.select(1, i).square().sum()},
                                                          {embedded}, {}, /*retain=*/true)[0];
        for (std::int64_t j = 0; j < 6; ++j) {
          const bool is_zero = gradient.select(1, j).count_nonzero().item<std::int64_t>() == 0;
          EXPECT_EQ(is_zero, j > i) << "scores at " << i << " by input " << j;
        }
      }
    }
  }
}

// VIS-3: masked tokens do not go in, so the loss at other places does not depend on them.
TEST(Gpt, MaskedTokensAreNotSeen) {
  const GptShape shape = toy_shape(GptForm::kImage, 8, 6);
  const auto gpt = random_gpt(shape);
  DropoutStream none;
  const at::Tensor tokens = random_tokens(shape, 2, 6);
  const at::Tensor masked = at::zeros({2, 6}, at::kBool);
  masked.select(1, 2).fill_(true);
  const auto scores = [&](const at::Tensor& ids) {
    return gpt->logits(gpt->mix(gpt->embed(ids, masked, none), /*is_causal=*/false, none));
  };
  at::Tensor changed = tokens.clone();
  changed.select(1, 2).add_(1).remainder_(shape.num_outputs);
  EXPECT_TRUE(at::equal(scores(tokens), scores(changed)));
  changed.select(1, 3).add_(1).remainder_(shape.num_outputs);
  EXPECT_FALSE(at::equal(scores(tokens), scores(changed)));
}

// VIS-4: all sequences of three tokens out of two have probability 1 together.
TEST(Gpt, ProbabilitiesOfAllSequencesSumToOne) {
  for (const GptForm form : kForms) {
    const GptShape shape = toy_shape(form, 2, 3);
    const auto gpt = random_gpt(shape);
    const at::Tensor number = at::arange(8).unsqueeze(1);
    const at::Tensor tokens =
        at::cat({number / 4, number / 2, number}, 1).to(at::kLong).remainder(2);
    const at::Tensor start = at::full({8, 1}, shape.num_outputs, at::kLong);
    const at::Tensor losses = token_losses(all_logits(*gpt, shifted(start, tokens)), tokens);
    EXPECT_NEAR((-losses.sum(1)).exp().sum().item<double>(), 1.0, 1e-10);
  }
}

TEST(Gpt, CachedScoresAreThoseOfTheWholeSequence) {
  for (const GptForm form : kForms) {
    const GptShape shape = toy_shape(form, 8, 12);
    const auto gpt = random_gpt(shape);
    const at::Tensor tokens = random_tokens(shape, 3, 12);
    const at::Tensor whole = all_logits(*gpt, tokens);
    for (const std::int64_t given :
         {1, 2, 7}) {  // first so many at once, then two, then one by one
      auto caches = gpt->make_caches(3, 12);
      std::int64_t done = 0;
      for (std::int64_t count = given; done < 12; count = done == given ? 2 : 1) {
        count = std::min<std::int64_t>(count, 12 - done);
        const at::Tensor next = gpt->next_logits(tokens.narrow(1, done, count), caches);
        done += count;
        EXPECT_TRUE(at::allclose(next, whole.select(1, done - 1), 1e-10, 1e-12)) << done;
      }
    }
  }
}

TEST(Gpt, GoesOutAndInUnderPublishedNamesBitForBit) {
  for (const GptForm form : kForms) {
    const GptShape shape = toy_shape(form, 8, 6);
    const NamedTensors ours = named_tensors(*random_gpt(shape, at::kFloat));
    NamedTensors theirs = gpt_to_theirs(shape, ours);
    const NamedTensors back = gpt_to_ours(shape, theirs, "test");
    ASSERT_EQ(back.size(), ours.size());
    for (const auto& [name, tensor] : ours) EXPECT_TRUE(at::equal(back.at(name), tensor)) << name;
    theirs.erase(theirs.begin());
    EXPECT_THROW(gpt_to_ours(shape, theirs, "test"), Error);
  }
  const GptShape shape = toy_shape(GptForm::kImage, 8, 6);
  NamedTensors theirs = gpt_to_theirs(shape, named_tensors(*random_gpt(shape, at::kFloat)));
  theirs.at("transformer.h.1.attn.c_proj.bias").add_(1.0);
  EXPECT_THROW(gpt_to_ours(shape, theirs, "test"), Error);
}

TEST(TokenSampling, LeavesOutTheUnlikely) {
  const at::Tensor logits = at::tensor({0.1, 0.4, 0.2, 0.3}, at::kDouble).log().unsqueeze(0);
  const auto probabilities = [&](const TokenSampling& sampling) {
    const at::Tensor row = token_probabilities(logits, sampling)[0];
    return std::vector<double>(row.const_data_ptr<double>(), row.const_data_ptr<double>() + 4);
  };
  const auto expect = [&](const TokenSampling& sampling, const std::vector<double>& expected) {
    const auto found = probabilities(sampling);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(found[i], expected[i], 1e-12) << i;
  };
  expect({}, {0.1, 0.4, 0.2, 0.3});
  expect({.temperature = 0.5}, {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});
  expect({.top_k = 2}, {0, 0.4 / 0.7, 0, 0.3 / 0.7});
  expect({.top_k = 1}, {0, 1, 0, 0});
  expect({.top_p = 0.65}, {0, 0.4 / 0.7, 0, 0.3 / 0.7});  // .4 alone is too little
  expect({.top_p = 0.75}, {0, 0.4 / 0.9, 0.2 / 0.9, 0.3 / 0.9});
  expect({.top_p = 0.01}, {0, 1, 0, 0});
  EXPECT_TRUE(TokenSampling{}.problems().empty());
  EXPECT_EQ((TokenSampling{.temperature = 0.0, .top_k = 0, .top_p = 1.5}).problems().size(), 3u);
}

// Frequencies of 20,000 draws within four standard deviations; tokens left out never come.
TEST(TokenSampling, DrawsByProbability) {
  const std::vector<double> p = {0.5, 0.0, 0.2, 0.3};
  constexpr std::int64_t kDraws = 20'000;
  const at::Tensor rows = at::tensor(p, at::kDouble).unsqueeze(0).expand({kDraws, 4});
  const at::Tensor counts = draw_tokens(rows, 7, 100, 5).bincount({}, 4);
  for (std::int64_t i = 0; i < 4; ++i) {
    const double share = p[static_cast<std::size_t>(i)];
    const double deviation = std::sqrt(kDraws * share * (1 - share));
    EXPECT_NEAR(counts[i].item<double>(), kDraws * share, 4 * deviation) << i;
  }
}

TEST(TokenSampling, ASampleDependsOnItsNumberAlone) {
  const GptShape shape = toy_shape(GptForm::kMini, 8, 9);
  const auto gpt = random_gpt(shape, at::kFloat);
  const at::Tensor start = at::full({6, 1}, shape.num_outputs, at::kLong);
  const TokenSampling sampling{.temperature = 10.0};  // these weights are sure of themselves
  const at::Tensor all = generate_tokens(*gpt, start, 9, sampling, 7, 0);
  EXPECT_TRUE(at::equal(generate_tokens(*gpt, start.narrow(0, 0, 2), 9, sampling, 7, 3),
                        all.narrow(0, 3, 2)));
  EXPECT_FALSE(at::equal(generate_tokens(*gpt, start, 9, sampling, 8, 0), all));
  EXPECT_LT(all.max().item<std::int64_t>(), shape.num_outputs);
}

// What is drawn from the cache is what drawing from whole sequences gives, at every length.
TEST(TokenSampling, CachedTokensAreThoseOfWholeSequences) {
  for (const GptForm form : kForms) {
    const GptShape shape = toy_shape(form, 8, 40);
    const auto gpt = random_gpt(shape, at::kFloat);
    at::Tensor sequence = at::full({4, 1}, shape.num_outputs, at::kLong);
    const TokenSampling sampling{.temperature = 5.0, .top_k = 6};
    const at::Tensor drawn = generate_tokens(*gpt, sequence, 40, sampling, 11, 0);
    const at::NoGradGuard no_grad;
    for (std::int64_t i = 0; i < 40; ++i) {
      const at::Tensor logits = all_logits(*gpt, sequence).select(1, i);
      const at::Tensor next = draw_tokens(token_probabilities(logits, sampling), 11, 0, i);
      ASSERT_TRUE(at::equal(next, drawn.select(1, i))) << "token " << i;
      sequence = at::cat({sequence, next.unsqueeze(1)}, 1);
    }
  }
}

TEST(Gpt, BeginsAsPublished) {
  for (const GptForm form : kForms) {
    GptShape shape = toy_shape(form, 31, 64);
    shape.dim = 64;
    const Gpt gpt(shape, at::TensorOptions(at::kFloat));
    std::vector<Parameter> parameters = gpt_parameters(gpt);
    initialise_gpt(parameters, shape, 1);
    const auto expect_deviation = [](const at::Tensor& tensor, double expected) {
      const double found = tensor.std().item<double>();
      EXPECT_NEAR(found, expected, 0.1 * expected + 1e-12);
    };
    const bool is_image = form == GptForm::kImage;
    expect_deviation(gpt.tokens, 0.02);
    expect_deviation(gpt.positions, is_image ? 0.01 : 0.0);
    expect_deviation(gpt.blocks[1]->qkv->weight, is_image ? 1.0 / 8 : 0.02);
    expect_deviation(gpt.blocks[1]->proj->weight, is_image ? 1.0 / std::sqrt(128.0) : 0.02);
    expect_deviation(gpt.blocks[1]->fc1->weight, 0.02);
    expect_deviation(gpt.head->weight, is_image ? 0.0 : 0.02);
    EXPECT_EQ(gpt.norm->weight.min().item<float>(), 1.0f);
  }
}

}  // namespace
}  // namespace kiln
