#include "launch/trained/text_model.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "core/torch.h"
#include "data/store/manifest.h"
#include "data/text/token_stream.h"
#include "models/bert/bert_objective.h"
#include "models/interchange/huggingface.h"

namespace kiln {
namespace fs = std::filesystem;
namespace {

constexpr const char* kVocabularyFile = "vocab.txt";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";

std::shared_ptr<const Tokenizer> tokenizer_of_run(const fs::path& folder, const fs::path& run) {
  if (folder == run) return read_tokenizer(folder);
  return dataset_tokenizer(folder, read_manifest(folder));
}

}  // namespace

bool is_text_model(const fs::path& path) {
  if (is_huggingface_folder(path)) {
    const auto config = nlohmann::json::parse(read_text_file(path / "config.json"), nullptr, false);
    return config.is_object() && config.value("model_type", "") == "bert";
  }
  const auto recipe = run_folder_of(path) / "recipe.toml";
  return RecipeReader::from_file(recipe, {}).peek("model", "name", "") == "bert";
}

TextModel open_text_model(const TargetArgs& args) {
  const fs::path path = args.path;
  TextModel model;
  if (is_huggingface_folder(path)) {
    model.objective = import_huggingface(path).objective;
    model.objective->module().eval();
    model.vocabulary = path / kVocabularyFile;
    model.tokenizer = read_tokenizer(path);
    model.name = path.filename().string();
    return model;
  }
  EvalTarget target = open_target(args);
  const fs::path folder =
      tokenizer_folder(target.run_folder, target.reader.peek("data", "path", ""));
  model.objective = std::move(target.objective);
  model.vocabulary = folder / kVocabularyFile;
  model.tokenizer = tokenizer_of_run(folder, target.run_folder);
  model.recipe = target.recipe;
  model.name = target.name;
  model.run_folder = target.run_folder;
  return model;
}

std::shared_ptr<const Tokenizer> read_tokenizer(const fs::path& folder) {
  NormalizerOptions options;
  if (fs::exists(folder / kTokenizerConfig)) {
    const auto config = nlohmann::json::parse(read_text_file(folder / kTokenizerConfig));
    const auto is_true = [&](const char* key, bool otherwise) {
      const auto found = config.find(key);
      return found != config.end() && found->is_boolean() ? found->get<bool>() : otherwise;
    };
    options.lowercase = is_true("do_lower_case", true);
    options.strip_accents = is_true("strip_accents", options.lowercase);
  }
  return std::make_shared<const Tokenizer>(Vocabulary::load(folder / kVocabularyFile), options);
}

void write_tokenizer(const fs::path& folder, const Tokenizer& tokenizer) {
  tokenizer.vocabulary().save(folder / kVocabularyFile);
  const NormalizerOptions options = tokenizer.words().options();
  const nlohmann::ordered_json config = {{"tokenizer_class", "BertTokenizer"},
                                         {"do_lower_case", options.lowercase},
                                         {"strip_accents", options.strip_accents},
                                         {"tokenize_chinese_chars", true}};
  write_file_atomically(posix_file_system(), folder / kTokenizerConfig, config.dump(2) + "\n");
}

fs::path tokenizer_folder(const fs::path& run, const std::string& dataset) {
  return fs::exists(run / kVocabularyFile) ? run : fs::path(dataset);
}

}  // namespace kiln
