#include <gtest/gtest.h>

#include <cmath>

#include "core/torch.h"
#include "models/bert/bert_names.h"
#include "models/bert/bert_objective.h"
#include "models/bert/bert_options.h"
#include "models/layers/parameters.h"

namespace kiln {
namespace {

constexpr std::int64_t kLength = 16;

DatasetInfo make_data(bool has_pairs = false) {
  DatasetInfo data;
  data.kind = "text";
  data.vocab_size = 50;
  data.sequence_length = kLength;
  data.facts["mask_token"] = "4";
  data.facts["has_pairs"] = has_pairs ? "true" : "false";
  return data;
}

BertObjective make_objective(const DatasetInfo& data, at::ScalarType type = at::kDouble,
                             double dropout = 0.0) {
  BertOptions options;
  options.preset = "tiny";
  options.dim = 16;
  options.heads = 2;
  options.max_positions = 32;
  options.dropout = options.attention_dropout = dropout;
  options.resolve();
  BertObjective objective(options.shape(data), options.masking_options(data),
                          at::TensorOptions(type));
  objective.initialise(1);
  return objective;
}

/// Rows of one document each, [CLS] tokens [SEP] and padding; lengths differ.
Batch make_batch(const BertObjective& objective, std::int64_t first, std::int64_t count,
                 bool has_pairs = false) {
  Batch batch;
  batch.first_position = first;
  batch.num_samples = count;
  const at::Tensor tokens = at::zeros({count, kLength}, at::kLong);
  const at::Tensor kind = at::zeros({count, kLength}, at::kByte);
  const at::Tensor document = at::full({count, kLength}, -1, at::kLong);
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t length = 6 + (first + b) * 3 % 10;
    tokens[b].slice(0, 0, length).copy_(at::arange(length) * 7 % 40 + 5 + (first + b) % 5);
    kind[b].slice(0, 1, length - 1).fill_(1);
    document[b].slice(0, 0, length).fill_(0);
    tokens[b][0] = 2;
    tokens[b][length - 1] = 3;
  }
  batch.tensors = {{"tokens", tokens},
                   {"kind", kind},
                   {"document", document},
                   {"position", at::arange(kLength, at::kLong).repeat({count, 1})}};
  if (has_pairs) {
    batch.tensors["segment"] = at::zeros({count, kLength}, at::kLong);
    batch.tensors["pair_label"] = at::arange(first, first + count, at::kLong) % 2;
  }
  objective.prepare(batch, 9);
  return batch;
}

const StepContext kEvaluation{.is_training = false};

double loss_of(BertObjective& objective, const Batch& batch) {
  const at::NoGradGuard no_grad;
  return objective.loss(batch, kEvaluation, 0)->value.item<double>();
}

std::int64_t count_parameters(const char* preset, bool has_pairs) {
  BertOptions options;
  options.preset = preset;
  options.resolve();
  DatasetInfo data = make_data(has_pairs);
  data.vocab_size = 30'522;
  BertObjective objective(options.shape(data), {}, at::TensorOptions(at::kMeta));
  std::int64_t count = 0;
  for (const Parameter& p : objective.parameters(0)) {
    count += p.tensor.numel();
  }
  return count;
}

TEST(Bert, HasThePublishedNumbersOfParameters) {
  EXPECT_EQ(count_parameters("tiny", true), 4'433'468);
  EXPECT_EQ(count_parameters("base", true), 110'106'428);
  EXPECT_EQ(count_parameters("large", true), 336'226'108);
}

TEST(Bert, DecaysEmbeddingsButNeitherNormsNorBiases) {
  BertObjective objective = make_objective(make_data(true));
  for (const Parameter& parameter : objective.parameters(0)) {
    const bool is_table = parameter.name.ends_with("embeddings");
    const bool is_matrix =
        parameter.name.ends_with(".weight") && parameter.name.find("norm") == std::string::npos;
    EXPECT_EQ(parameter.has_decay, is_table || is_matrix) << parameter.name;
  }
}

TEST(Bert, StartsFromTheDeviationAndThePositionWavesChosen) {
  BertOptions options;
  options.preset = "tiny";
  options.max_positions = 64;
  options.init_std = 0.06;
  options.position_init = "waves";
  options.resolve();
  const DatasetInfo data = make_data();
  BertObjective objective(options.shape(data), options.masking_options(data),
                          at::TensorOptions(at::kDouble));
  objective.initialise(1);
  const Bert& bert = objective.network();
  const at::Tensor& table = bert.position_embeddings;
  for (const std::int64_t place : {0, 1, 40}) {
    for (const std::int64_t i : {0, 3, 63}) {
      const double angle =
          static_cast<double>(place) * std::pow(64.0, -2.0 * static_cast<double>(i) / 128.0);
      const double scale = std::sqrt(2.0) * 0.06;
      EXPECT_NEAR(table[place][2 * i].item<double>(), scale * std::sin(angle), 1e-12);
      EXPECT_NEAR(table[place][2 * i + 1].item<double>(), scale * std::cos(angle), 1e-12);
    }
  }
  // Of a normal cut at two deviations: 0.8796 of the deviation, here of 65,536 numbers.
  EXPECT_NEAR(bert.blocks[0]->mlp->fc1->weight.std().item<double>(), 0.8796 * 0.06, 0.001);
}

TEST(Bert, MicroBatchesWithGlobalDenominatorsAddUpToTheWhole) {
  BertObjective objective = make_objective(make_data(true));
  const Batch whole = make_batch(objective, 0, 6, true);
  Batch one = make_batch(objective, 0, 2, true), two = make_batch(objective, 2, 4, true);
  EXPECT_EQ(one.denominators["masked"] + two.denominators["masked"],
            whole.denominators.at("masked"));
  const double one_mean = loss_of(objective, one), two_mean = loss_of(objective, two);
  one.denominators = two.denominators = whole.denominators;
  const double sum = loss_of(objective, one) + loss_of(objective, two);
  EXPECT_NEAR(sum, loss_of(objective, whole), 1e-12);
  // The mean of local means is another number: the trap is real.
  EXPECT_GT(std::abs((one_mean + two_mean) / 2 - sum), 1e-6);
}

/// Two rows' documents side by side in one row, positions starting again.
Batch pack(const Batch& padded) {
  const at::Tensor real = padded.at("document").ge(0);
  const std::int64_t total = real.sum().item<std::int64_t>();
  const at::Tensor row_of = at::arange(real.size(0), at::kLong).unsqueeze(1).expand_as(real);
  const at::Tensor slot = real.reshape({-1}).to(at::kLong).cumsum(0) - 1;
  Batch packed = padded;
  const auto squeeze = [&](const char* name, const at::Tensor& values) {
    packed.tensors[name] = values.masked_select(real).reshape({1, total});
  };
  squeeze("input_ids", padded.at("input_ids"));
  squeeze("position", padded.at("position"));
  squeeze("document", row_of);
  packed.tensors["masked_place"] = slot.index_select(0, padded.at("masked_place"));
  return packed;
}

TEST(Bert, PackedAndPaddedDocumentsGiveTheSameLossAndGradients) {
  BertObjective objective = make_objective(make_data());
  const Batch padded = make_batch(objective, 0, 4);
  const auto gradients = [&](const Batch& batch) {
    std::vector<at::Tensor> result;
    for (const Parameter& p : objective.parameters(0)) p.tensor.mutable_grad().reset();
    objective.loss(batch, kEvaluation, 0)->value.backward();
    for (const Parameter& p : objective.parameters(0)) result.push_back(p.tensor.grad().clone());
    return result;
  };
  const Batch packed = pack(padded);
  EXPECT_LT(packed.at("input_ids").numel(), padded.at("input_ids").numel());
  EXPECT_NEAR(loss_of(objective, packed), loss_of(objective, padded), 1e-12);
  const auto from_packed = gradients(packed), from_padded = gradients(padded);
  for (std::size_t i = 0; i < from_packed.size(); ++i) {
    EXPECT_TRUE(at::allclose(from_packed[i], from_padded[i], 1e-9, 1e-12))
        << objective.parameters(0)[i].name;
  }
}

TEST(Bert, SampleIsMaskedTheSameInAnyBatch) {
  const BertObjective objective = make_objective(make_data());
  const Batch whole = make_batch(objective, 3, 4), part = make_batch(objective, 5, 2);
  EXPECT_TRUE(whole.at("input_ids").slice(0, 2, 4).equal(part.at("input_ids")));
}

TEST(Bert, DropoutDependsOnThePositionAlone) {
  BertObjective objective = make_objective(make_data(), at::kDouble, 0.1);
  const Batch batch = make_batch(objective, 0, 4);
  const StepContext training{.seed = 5};
  const at::NoGradGuard no_grad;
  const double first = objective.loss(batch, training, 0)->value.item<double>();
  EXPECT_EQ(objective.loss(batch, training, 0)->value.item<double>(), first);
  EXPECT_NE(loss_of(objective, batch), first);
}

TEST(Bert, NamesRoundTripThroughEveryLayout) {
  for (const bool has_pairs : {true, false}) {
    BertObjective objective = make_objective(make_data(has_pairs), at::kFloat);
    const NamedTensors ours = named_tensors(objective.module());
    NamedTensors legacy;
    for (const auto& [name, value] : to_theirs(bert_names(objective.shape()), ours)) {
      std::string old = name;
      const std::size_t at = old.find("LayerNorm.");
      if (at != std::string::npos) {
        old = old.substr(0, at + 10) + (old.ends_with("weight") ? "gamma" : "beta");
      }
      legacy[old] = value;
    }
    legacy["bert.embeddings.position_ids"] = at::arange(32).unsqueeze(0);
    legacy["cls.predictions.decoder.weight"] = ours.at("word_embeddings");
    legacy["cls.predictions.decoder.bias"] = ours.at("mlm.bias");
    const NamedTensors theirs = normalise_bert_names(legacy, "test");
    BertShape shape = objective.shape();
    shape.has_pair_head = !has_pairs;
    set_bert_heads(shape, theirs);
    EXPECT_EQ(shape.has_pair_head, has_pairs);
    const NamedTensors back = to_ours(bert_names(shape), theirs, "test");
    for (const auto& [name, value] : ours) EXPECT_TRUE(back.at(name).equal(value)) << name;
  }
}

TEST(Bert, ReadsTensorFlowNamesTransposed) {
  const at::Tensor kernel = at::rand({3, 5});
  const NamedTensors theirs =
      normalise_bert_names({{"bert/encoder/layer_0/intermediate/dense/kernel", kernel},
                            {"bert/encoder/layer_0/output/LayerNorm/gamma", at::ones(3)},
                            {"cls/predictions/output_bias", at::zeros(7)},
                            {"cls/seq_relationship/output_weights", at::ones({2, 3})},
                            {"bert/embeddings/word_embeddings", at::ones({7, 3})},
                            {"bert/pooler/dense/kernel/adam_m", kernel}},
                           "test");
  EXPECT_EQ(theirs.size(), 5u);
  EXPECT_TRUE(theirs.at("bert.encoder.layer.0.intermediate.dense.weight").equal(kernel.t()));
  EXPECT_TRUE(theirs.contains("bert.encoder.layer.0.output.LayerNorm.weight"));
  EXPECT_EQ(theirs.at("cls.seq_relationship.weight").size(0), 2);
  EXPECT_TRUE(theirs.contains("bert.embeddings.word_embeddings.weight"));
  EXPECT_TRUE(theirs.contains("cls.predictions.bias"));
}

}  // namespace
}  // namespace kiln
