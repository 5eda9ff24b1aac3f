#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/objective.h"
#include "core/recipe/recipe_reader.h"
#include "models/bert/bert.h"
#include "models/bert/bert_options.h"
#include "models/capabilities.h"

// BERT with a classifier of sentences or sentence pairs in place of the heads of pretraining
// (arXiv:1810.04805, section 4.1).
//
// B samples, L tokens, D width, K classes.

namespace kiln {

/// What the classifier sees: the pooler's output for [CLS], or the mean over the words, which does
/// not depend on what pretraining made of [CLS].
enum class TextPool { kCls, kMean };

struct BertClassifier : Bert {
  /// `shape` has no heads of pretraining, and the pooler with kCls alone.
  BertClassifier(const BertShape& shape, TextPool pool, std::int64_t num_classes,
                 const at::TensorOptions& options);
  at::Tensor scores(const Batch& batch, DropoutStream& drop) const;  // [B, K] fp32

  TextPool pool_by;
  std::shared_ptr<Linear> head;
};

/// Batches as data/text/labelled_text.h describes them; prepare() adds the denominator "samples".
/// loss = sum of cross-entropies / samples. Parameters bear the names of pretraining, so that
/// run.init_from finds them; "head" is new.
class BertClassifierObjective : public Objective, public Classifier, public Workload {
 public:
  BertClassifierObjective(const BertShape& shape, TextPool pool, std::int64_t num_classes,
                          const at::TensorOptions& options);
  void initialise(std::uint64_t seed);

  BertClassifier& network() { return *network_; }
  torch::nn::Module& module() override { return *network_; }
  void prepare(Batch& batch, std::uint64_t seed) const override;
  std::vector<Parameter> parameters(std::size_t phase) override;
  std::optional<Loss> loss(const Batch& batch, const StepContext& context,
                           std::size_t phase) override;
  at::Tensor scores(const Batch& batch) override;
  Work work(const Batch& like) override;

 private:
  std::shared_ptr<BertClassifier> network_;
};

/// [model] of a recipe with model.name = "bert_classifier".
struct BertClassifierOptions : BertOptions {
  std::string pool = "cls";

  BertClassifierOptions() { name = "bert_classifier"; }
  template <typename Visitor>
  void describe(Visitor& visit) {
    describe_network(visit);
    visit("pool", pool, "What the head sees: cls (through the pooler) | mean (of the words).",
          kIdentity);
  }
  std::vector<std::string> problems(const DatasetInfo& data) const;
  /// After resolve().
  BertShape classifier_shape(const DatasetInfo& data) const;
  TextPool text_pool() const { return pool == "mean" ? TextPool::kMean : TextPool::kCls; }
};

/// Rows of the table of models.
std::unique_ptr<Objective> make_bert(RecipeReader& reader, const Recipe& recipe,
                                     const DatasetInfo& data);
std::unique_ptr<Objective> make_bert_classifier(RecipeReader& reader, const Recipe& recipe,
                                                const DatasetInfo& data);

}  // namespace kiln
