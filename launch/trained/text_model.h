#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "data/tokenizer/tokenizer.h"
#include "launch/trained/eval_target.h"

namespace kiln {

/// A BERT model with the tokenizer its ids come from.
struct TextModel {
  std::unique_ptr<Objective> objective = nullptr;  // on the host, in evaluation mode
  std::shared_ptr<const Tokenizer> tokenizer = nullptr;
  std::filesystem::path vocabulary = {};  // its vocab.txt
  Recipe recipe = {};
  std::string name = {};                  // "step-000000100", a folder's name
  std::filesystem::path run_folder = {};  // empty for Hugging Face folders
};

/// Whether `path` (a run, one of its checkpoints, or a Hugging Face folder) holds BERT.
bool is_text_model(const std::filesystem::path& path);

/// A published model brings its vocab.txt; a run has that of the dataset it was trained on.
TextModel open_text_model(const TargetArgs& args);

/// vocab.txt, and tokenizer_config.json for what is done to letters, as transformers has them.
std::shared_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& folder);
void write_tokenizer(const std::filesystem::path& folder, const Tokenizer& tokenizer);
/// The tokenizer of a run: of its folder if it was imported with one, else of its dataset.
std::filesystem::path tokenizer_folder(const std::filesystem::path& run,
                                       const std::string& dataset);

}  // namespace kiln
