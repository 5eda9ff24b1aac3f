#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "data/tokenizer/tokenizer.h"
#include "launch/trained/trained_model.h"

namespace kiln {

/// The tokenizer that a model's ids come from, and its vocab.txt. A published model brings its
/// own; a run has that of the dataset it was trained on. Throws where there is none.
struct ModelTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::filesystem::path vocabulary;
};
ModelTokenizer tokenizer_of(const TrainedModel& model);

/// vocab.txt, and tokenizer_config.json for what is done to letters, as transformers has them.
std::shared_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& folder);
void write_tokenizer(const std::filesystem::path& folder, const Tokenizer& tokenizer);

}  // namespace kiln
