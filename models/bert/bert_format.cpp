#include "models/bert/bert_format.h"

#include <fmt/format.h>

#include "models/bert/bert_names.h"
#include "models/bert/bert_objective.h"
#include "models/bert/bert_options.h"
#include "models/interchange/config_reader.h"

namespace kiln {
namespace {

const BertShape& shape_of(Objective& objective) {
  return dynamic_cast<BertObjective&>(objective).shape();
}

nlohmann::ordered_json config_of(const BertShape& shape) {
  const char* architecture = !shape.has_mlm_head   ? "BertModel"
                             : shape.has_pair_head ? "BertForPreTraining"
                                                   : "BertForMaskedLM";
  return {{"architectures", {architecture}},
          {"model_type", "bert"},
          {"vocab_size", shape.vocab_size},
          {"hidden_size", shape.dim},
          {"num_hidden_layers", shape.depth},
          {"num_attention_heads", shape.heads},
          {"intermediate_size", shape.mlp_dim},
          {"max_position_embeddings", shape.max_positions},
          {"type_vocab_size", shape.num_segments},
          {"layer_norm_eps", shape.layer_norm_eps},
          {"hidden_act", shape.has_tanh_gelu ? "gelu_pytorch_tanh" : "gelu"},
          {"hidden_dropout_prob", shape.dropout},
          {"attention_probs_dropout_prob", shape.attention_dropout},
          {"initializer_range", shape.init.std},
          {"pad_token_id", 0},
          {"tie_word_embeddings", true},
          {"dtype", "float32"}};
}

InterchangeFormat::Made make_bert(const nlohmann::json& config, const NamedTensors& theirs,
                                  const std::string& origin) {
  BertShape shape = bert_shape_from_config(config, origin);
  set_bert_heads(shape, theirs);
  InterchangeFormat::Made made;
  made.data.kind = "text";
  made.data.vocab_size = shape.vocab_size;
  made.data.sequence_length = shape.max_positions;
  made.data.facts["has_pairs"] = shape.has_pair_head ? "true" : "false";
  BertOptions options = BertOptions::of(shape);
  made.recipe = model_section(options);
  made.objective = std::make_unique<BertObjective>(shape, options.masking_options(made.data),
                                                   at::TensorOptions());
  return made;
}

}  // namespace

BertShape bert_shape_from_config(const nlohmann::json& config, const std::string& origin) {
  ConfigReader reader(config, origin);
  BertShape shape;
  std::string activation = "gelu";
  reader.read("vocab_size", shape.vocab_size);
  reader.read("hidden_size", shape.dim);
  reader.read("num_hidden_layers", shape.depth);
  reader.read("num_attention_heads", shape.heads);
  reader.read("intermediate_size", shape.mlp_dim);
  reader.read("max_position_embeddings", shape.max_positions);
  reader.read_optional("type_vocab_size", shape.num_segments);
  reader.read_optional("layer_norm_eps", shape.layer_norm_eps);
  reader.read_optional("initializer_range", shape.init.std);
  reader.read_optional("hidden_dropout_prob", shape.dropout);
  reader.read_optional("attention_probs_dropout_prob", shape.attention_dropout);
  reader.read_optional("hidden_act", activation);
  reader.require_value("position_embedding_type", std::string("absolute"));
  reader.require_value("is_decoder", false);
  reader.require_value("tie_word_embeddings", true);
  shape.has_tanh_gelu = activation == "gelu_new" || activation == "gelu_pytorch_tanh";
  reader.require(
      shape.has_tanh_gelu || activation == "gelu",
      fmt::format("hidden_act = {}; known are gelu, gelu_new, gelu_pytorch_tanh", activation));
  reader.finish();
  return shape;
}

InterchangeFormat bert_format() {
  InterchangeFormat format;
  format.model_type = "bert";
  format.config = [](Objective& objective) -> nlohmann::ordered_json {
    const auto* bert = dynamic_cast<BertObjective*>(&objective);
    return bert ? config_of(bert->shape()) : nullptr;
  };
  format.names = [](Objective& objective) { return bert_names(shape_of(objective)); };
  format.preprocessor = nullptr;
  format.normalise = normalise_bert_names;
  format.make_from_tensors = make_bert;
  return format;
}

}  // namespace kiln
