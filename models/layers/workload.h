#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/types.h"
#include "models/capabilities.h"
#include "models/layers/block.h"

namespace kiln {

/// Collects what Workload::work() returns. Products of matrices, convolutions as products, and
/// attention have FLOPs (2 a multiply-add); norms count as passes over memory; activations, biases,
/// softmax and residual sums are left out.
class WorkList {
 public:
  /// `parameters`: all that are trained. Values are of their type.
  explicit WorkList(const std::vector<Parameter>& parameters);

  /// [m, k] x [k, n] `count` times. `operand_values`: of the left operand where it is not m * k.
  void product(const std::string& name, std::int64_t m, std::int64_t k, std::int64_t n,
               double count = 1.0, std::int64_t operand_values = 0);
  /// Scores and weighted sums of `heads` heads over all samples, each of width `head_dim`.
  void attention(const std::string& name, std::int64_t heads, std::int64_t queries,
                 std::int64_t keys, std::int64_t head_dim, double count = 1.0);
  /// All weights within `module` as products with `rows` rows (tokens or output pixels of all
  /// samples), its norms as passes over them.
  void module(const std::string& name, const torch::nn::Module& module, std::int64_t rows);
  /// Transformer blocks of one shape on `samples` sequences of `tokens` tokens.
  void blocks(const std::string& name, const std::vector<std::shared_ptr<TransformerBlock>>& blocks,
              std::int64_t samples, std::int64_t tokens);
  /// What is added from now on has no backward pass.
  void freeze() { is_trained_ = false; }
  void unfreeze() { is_trained_ = true; }

  Workload::Work work() && { return std::move(work_); }

 private:
  /// Equal operators become one.
  void add(Workload::Operator op);

  Workload::Work work_;
  double value_bytes_ = 4.0;
  bool is_trained_ = true;
};

}  // namespace kiln
