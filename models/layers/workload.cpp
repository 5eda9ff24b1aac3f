#include "models/layers/workload.h"

#include "core/torch.h"

namespace kiln {

double Workload::Work::training_flops() const {
  double sum = 0.0;
  for (const Operator& op : operators) sum += op.count * op.flops * (op.is_trained ? 3.0 : 1.0);
  return sum;
}

WorkList::WorkList(const std::vector<Parameter>& parameters) {
  for (const Parameter& parameter : parameters) {
    work_.num_parameters += parameter.tensor.numel();
    value_bytes_ = static_cast<double>(parameter.tensor.element_size());
  }
}

void WorkList::add(Workload::Operator op) {
  op.is_trained = is_trained_;
  for (Workload::Operator& known : work_.operators) {
    const bool is_same = known.name == op.name && known.m == op.m && known.n == op.n &&
                         known.k == op.k && known.flops == op.flops && known.bytes == op.bytes &&
                         known.is_trained == op.is_trained;
    if (!is_same) continue;
    known.count += op.count;
    return;
  }
  work_.operators.push_back(std::move(op));
}

void WorkList::product(const std::string& name, std::int64_t m, std::int64_t k, std::int64_t n,
                       double count, std::int64_t operand_values) {
  const std::int64_t left = operand_values > 0 ? operand_values : m * k;
  add({.name = name,
       .count = count,
       .flops = 2.0 * static_cast<double>(m) * static_cast<double>(k * n),
       .bytes = static_cast<double>(left + k * n + m * n) * value_bytes_,
       .m = m,
       .n = n,
       .k = k});
}

void WorkList::attention(const std::string& name, std::int64_t heads, std::int64_t queries,
                         std::int64_t keys, std::int64_t head_dim, double count) {
  const std::int64_t values = heads * head_dim * (2 * queries + 2 * keys);  // q, result; k, v
  add({.name = name,
       .count = count,
       .flops = 4.0 * static_cast<double>(heads * head_dim) * static_cast<double>(queries * keys),
       .bytes = static_cast<double>(values) * value_bytes_});
}

void WorkList::module(const std::string& name, const torch::nn::Module& module, std::int64_t rows) {
  for (const auto& item : module.named_parameters()) {
    const at::Tensor& weight = item.value();
    if (!item.key().ends_with("weight")) continue;
    const std::int64_t out = weight.size(0), values = weight.numel() / out;
    if (weight.dim() == 1) {
      add({.name = name + ".norm", .bytes = 2.0 * static_cast<double>(rows * out) * value_bytes_});
    } else if (weight.dim() == 4 && weight.size(2) > 1) {
      product(name + ".conv", rows, values, out, 1.0, rows * weight.size(1));
    } else {
      product(name + ".linear", rows, values, out);
    }
  }
}

void WorkList::blocks(const std::string& name,
                      const std::vector<std::shared_ptr<TransformerBlock>>& blocks,
                      std::int64_t samples, std::int64_t tokens) {
  const std::int64_t rows = samples * tokens;
  for (const auto& block : blocks) {
    const BlockOptions& shape = block->block;
    product(name + ".qkv", rows, shape.dim, 3 * shape.dim);
    attention(name + ".attention", samples * shape.heads, tokens, tokens, shape.dim / shape.heads);
    product(name + ".proj", rows, shape.dim, shape.dim);
    product(name + ".fc1", rows, shape.dim, shape.mlp_dim);
    product(name + ".fc2", rows, shape.mlp_dim, shape.dim);
    module(name + ".norm1", *block->norm1, rows);
    module(name + ".norm2", *block->norm2, rows);
  }
}

}  // namespace kiln
