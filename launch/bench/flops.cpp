#include "launch/bench/flops.h"

#include "models/mae/mae.h"

namespace kiln {

namespace {

struct Stack {
  std::int64_t tokens, dim, mlp_dim, depth;
};

/// Per block and sample: qkv, projection and MLP products, 2 FLOP a multiply-add; attention scores
/// and their sums 4 n^2 d.
double flops_of(const Stack& s) {
  const auto n = static_cast<double>(s.tokens), d = static_cast<double>(s.dim);
  const double products = 2 * n * d * (4 * d + 2 * static_cast<double>(s.mlp_dim));
  return static_cast<double>(s.depth) * (products + 4 * n * n * d);
}

void add_gemms(const Stack& s, std::int64_t samples, std::vector<GemmShape>& gemms) {
  const std::int64_t m = samples * s.tokens;
  const auto count = static_cast<double>(s.depth);
  gemms.push_back({m, 3 * s.dim, s.dim, count});
  gemms.push_back({m, s.dim, s.dim, count});
  gemms.push_back({m, s.mlp_dim, s.dim, count});
  gemms.push_back({m, s.dim, s.mlp_dim, count});
}

TrainingWork workload_of_mae(const MaeShape& shape, std::int64_t micro_batch) {
  const VitShape& vit = shape.encoder;
  const std::int64_t visible = shape.num_visible(), patches = vit.num_patches();
  const Stack encoder{1 + visible, vit.dim, vit.mlp_dim, vit.depth};
  const Stack decoder{1 + patches, shape.decoder_dim, shape.decoder_mlp_dim, shape.decoder_depth};
  const auto product = [](std::int64_t rows, std::int64_t in, std::int64_t out) {
    return 2.0 * static_cast<double>(rows * in * out);
  };
  const double ends = product(visible, vit.patch_values(), vit.dim) +
                      product(1 + visible, vit.dim, shape.decoder_dim) +
                      product(shape.num_masked(), shape.decoder_dim, vit.patch_values());
  TrainingWork work;
  work.flops_per_sample = 3 * (flops_of(encoder) + flops_of(decoder) + ends);
  add_gemms(encoder, micro_batch, work.gemms);
  add_gemms(decoder, micro_batch, work.gemms);
  return work;
}

}  // namespace

TrainingWork workload_of(Objective& objective, std::int64_t micro_batch) {
  if (auto* mae = dynamic_cast<MaeObjective*>(&objective)) {
    return workload_of_mae(mae->shape(), micro_batch);
  }
  return {};
}

}  // namespace kiln
