#include "models/gpt/gpt_shape.h"

#include <fmt/format.h>

#include <map>

namespace kiln {
namespace {

GptShape image_shape(std::int64_t dim, std::int64_t depth, std::int64_t heads) {
  return {.dim = dim, .depth = depth, .heads = heads};
}

GptShape code_shape(std::int64_t codes, std::int64_t positions, std::int64_t dim,
                    std::int64_t depth, std::int64_t heads) {
  return {.form = GptForm::kMini,
          .vocab_size = codes,
          .num_outputs = codes,
          .max_positions = positions,
          .dim = dim,
          .depth = depth,
          .heads = heads};
}

const std::map<std::string, GptShape>& presets() {
  static const std::map<std::string, GptShape> shapes = {
      {"igpt_tiny", image_shape(64, 4, 4)},
      {"igpt_s", image_shape(512, 24, 8)},
      {"igpt_m", image_shape(1024, 36, 8)},
      {"igpt_l", image_shape(1536, 48, 16)},
      {"vqgan_faces", code_shape(1024, 512, 1024, 24, 16)},
      {"vqgan_cin", code_shape(16'384, 256, 1536, 48, 24)},
  };
  return shapes;
}

}  // namespace

std::vector<std::string> GptShape::problems() const {
  std::vector<std::string> found;
  const auto at_least = [&](const char* key, std::int64_t value, std::int64_t least) {
    if (value < least) {
      found.push_back(fmt::format("model.{} = {}; at least {}", key, value, least));
    }
  };
  at_least("dim", dim, 1);
  at_least("depth", depth, 1);
  at_least("heads", heads, 1);
  if (heads >= 1 && dim % heads != 0) {
    found.push_back(fmt::format("model.dim = {} is no multiple of model.heads = {}", dim, heads));
  }
  const auto is_probability = [](double p) { return p >= 0.0 && p < 1.0; };
  if (!is_probability(dropout) || !is_probability(attention_dropout)) {
    found.push_back(
        fmt::format("model.dropout = {} and model.attention_dropout = {} must be in [0, 1)",
                    dropout, attention_dropout));
  }
  return found;
}

bool set_gpt_preset(GptShape& shape, const std::string& preset) {
  const auto found = presets().find(preset);
  if (found == presets().end()) return false;
  shape = found->second;
  return true;
}

std::vector<std::string> gpt_preset_names() {
  std::vector<std::string> names;
  for (const auto& [name, shape] : presets()) names.push_back(name);
  return names;
}

}  // namespace kiln
