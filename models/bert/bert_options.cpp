#include "models/bert/bert_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/base/nearest_name.h"

namespace kiln {
namespace {

struct Preset {
  const char* name;
  std::int64_t depth, dim, heads;
};

// base and large: arXiv:1810.04805; the smaller ones: Turc et al., arXiv:1908.08962.
constexpr std::array kPresets = {Preset{"tiny", 2, 128, 2}, Preset{"mini", 4, 256, 4},
                                 Preset{"small", 4, 512, 8}, Preset{"base", 12, 768, 12},
                                 Preset{"large", 24, 1024, 16}};

}  // namespace

bool BertOptions::resolve() {
  const auto found = std::ranges::find(kPresets, preset, &Preset::name);
  if (found == kPresets.end()) return false;
  depth = depth.value_or(found->depth);
  dim = dim.value_or(found->dim);
  heads = heads.value_or(found->heads);
  mlp_dim = mlp_dim.value_or(4 * *dim);
  return true;
}

std::vector<std::string> BertOptions::problems(const DatasetInfo& data) const {
  std::vector<std::string> found = shape(data).problems();
  if (gelu != "erf" && gelu != "tanh") {
    found.push_back(unknown_name("model.gelu", gelu, {"erf", "tanh"}));
  }
  if (position_init != "normal" && position_init != "waves") {
    found.push_back(unknown_name("model.position_init", position_init, {"normal", "waves"}));
  }
  if (masking != "token" && masking != "whole_word" && masking != "span") {
    found.push_back(unknown_name("model.masking", masking, {"token", "whole_word", "span"}));
  }
  if (head != "mlm" && head != "pooler" && head != "none") {
    found.push_back(unknown_name("model.head", head, {"mlm", "pooler", "none"}));
  }
  if (!(mask_share > 0.0 && mask_share < 1.0)) {
    found.push_back(fmt::format("model.mask_share = {} is not between 0 and 1", mask_share));
  }
  if (data.sequence_length > max_positions) {
    found.push_back(fmt::format("data.sequence_length = {} exceeds model.max_positions = {}",
                                data.sequence_length, max_positions));
  }
  return found;
}

BertShape BertOptions::shape(const DatasetInfo& data) const {
  BertShape shape;
  shape.vocab_size = data.vocab_size;
  shape.max_positions = max_positions;
  shape.dim = *dim;
  shape.depth = *depth;
  shape.heads = *heads;
  shape.mlp_dim = *mlp_dim;
  shape.layer_norm_eps = layer_norm_eps;
  shape.init = {init_std, position_init == "waves"};
  shape.has_tanh_gelu = gelu == "tanh";
  shape.dropout = dropout;
  shape.attention_dropout = attention_dropout;
  shape.has_mlm_head = head == "mlm";
  shape.has_pair_head = shape.has_mlm_head && data.is("has_pairs");
  shape.has_pooler = shape.has_pair_head || head == "pooler";
  return shape;
}

MaskingOptions BertOptions::masking_options(const DatasetInfo& data) const {
  MaskingOptions options;
  options.unit = masking == "span"         ? MaskingOptions::Unit::kSpan
                 : masking == "whole_word" ? MaskingOptions::Unit::kWholeWord
                                           : MaskingOptions::Unit::kToken;
  options.share = mask_share;
  options.max_predictions = max_predictions;
  options.vocab_size = data.vocab_size;
  options.mask_token = data.integer("mask_token");
  return options;
}

BertOptions BertOptions::of(const BertShape& shape) {
  BertOptions options;
  for (const Preset& known : kPresets) {
    const bool is_equal = known.dim == shape.dim && known.depth == shape.depth &&
                          known.heads == shape.heads && 4 * known.dim == shape.mlp_dim;
    if (is_equal) options.preset = known.name;
  }
  options.dim = shape.dim;
  options.depth = shape.depth;
  options.heads = shape.heads;
  options.mlp_dim = shape.mlp_dim;
  options.max_positions = shape.max_positions;
  options.gelu = shape.has_tanh_gelu ? "tanh" : "erf";
  options.layer_norm_eps = shape.layer_norm_eps;
  options.init_std = shape.init.std;
  options.position_init = shape.init.has_position_waves ? "waves" : "normal";
  options.dropout = shape.dropout;
  options.attention_dropout = shape.attention_dropout;
  options.head = shape.has_mlm_head ? "mlm" : shape.has_pooler ? "pooler" : "none";
  return options;
}

}  // namespace kiln
