#include "launch/trained/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "data/store/manifest.h"
#include "data/text/token_stream.h"

namespace kiln {
namespace fs = std::filesystem;
namespace {

constexpr const char* kVocabularyFile = "vocab.txt";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";

}  // namespace

ModelTokenizer tokenizer_of(const TrainedModel& model) {
  if (model.run_folder.empty()) {
    return {read_tokenizer(model.path), fs::path(model.path) / kVocabularyFile};
  }
  if (fs::exists(model.run_folder / kVocabularyFile)) {  // imported with it
    return {read_tokenizer(model.run_folder), model.run_folder / kVocabularyFile};
  }
  const fs::path dataset = model.reader.peek("data", "path", "");
  return {dataset_tokenizer(dataset, read_manifest(dataset)), dataset / kVocabularyFile};
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

}  // namespace kiln
