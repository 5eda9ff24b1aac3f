#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/dataset_info.h"
#include "core/recipe/options.h"
#include "data/batch_source.h"

namespace kiln {

/// [data] for labelled sentences and sentence pairs; data.path is a file of JSON lines.
struct LabelledTextOptions {
  std::int64_t sequence_length = 128;
  std::string vocabulary;
  bool lowercase = true;
  bool strip_accents = true;
  std::string text_key = "text";
  std::string second_key = "text_b";
  std::string label_key = "label";
  std::vector<std::string> classes;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("sequence_length", sequence_length, "Tokens per sample; longer texts are cut.",
          kIdentity);
    visit("vocabulary", vocabulary, "vocab.txt of the tokenizer.", kExecution);
    visit("lowercase", lowercase, "Of the tokenizer: lowers letters.", kIdentity);
    visit("strip_accents", strip_accents, "Of the tokenizer: drops accents.", kIdentity);
    visit("text_key", text_key, "Key of the sentence.", kIdentity);
    visit("second_key", second_key, "Key of the second sentence of a pair, where there is one.",
          kIdentity);
    visit("label_key", label_key, "Key of the label.", kIdentity);
    visit("classes", classes, "Labels in the order of their numbers; default: those found, sorted.",
          kIdentity);
  }
};

/// Labels that occur in a file, sorted. Throws Error(kData) naming file and line.
std::vector<std::string> read_classes(const std::filesystem::path& path,
                                      const std::string& label_key);

struct LabelledText {
  DatasetInfo info;
  std::shared_ptr<const BatchSource> source;
};

/// A line is an object with a text, perhaps a second one, and a label: a string or a whole number.
/// Everything is held in memory as tokens. Samples of L = sequence_length tokens,
/// [CLS] text [SEP] (second [SEP]), the longer of two texts cut first:
///   tokens, segment, position  int64 [B, L]
///   document                   int64 [B, L]  0, and -1 for padding
///   label                      int64 [B]
/// Throws Error(kData) naming file and line for what cannot be read and for labels that are not
/// among the classes.
LabelledText open_labelled_text(const std::filesystem::path& path,
                                const LabelledTextOptions& options);

}  // namespace kiln
