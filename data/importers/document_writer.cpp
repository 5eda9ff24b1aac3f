#include "data/importers/document_writer.h"

#include <algorithm>

#include "data/text/sentences.h"

namespace kiln {
namespace {

constexpr std::int64_t kSmallVocabulary = 65'536;  // ids fit uint16

template <typename T>
std::span<const std::uint8_t> bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

void TextCounts::add(const TextCounts& other) {
  documents += other.documents;
  tokens += other.tokens;
  sentences += other.sentences;
  unknown_tokens += other.unknown_tokens;
  invalid_sequences += other.invalid_sequences;
  empty_documents += other.empty_documents;
  longest_document = std::max(longest_document, other.longest_document);
  document_cuts += other.document_cuts;
}

Fields text_fields(std::int64_t vocab_size) {
  FieldInfo tokens, sentences;
  tokens.dtype = vocab_size <= kSmallVocabulary ? DType::kUInt16 : DType::kUInt32;
  tokens.is_ragged = true;
  sentences.dtype = DType::kUInt32;
  sentences.is_ragged = true;
  return {{"tokens", tokens}, {"sentences", sentences}};
}

DocumentWriter::DocumentWriter(const Tokenizer& tokenizer, bool has_lines, ShardWriter& shard)
    : tokenizer_(tokenizer), has_lines_(has_lines), shard_(shard), encoder_(tokenizer) {}

void DocumentWriter::add_line(std::string_view line) {
  if (has_lines_) {
    add_sentence(line);
    return;
  }
  paragraph_ += line;
  paragraph_ += ' ';
  if (paragraph_.size() > kMaxParagraph) flush(false);
}

void DocumentWriter::end_paragraph() { flush(true); }

void DocumentWriter::flush(bool is_end) {
  std::string_view rest = paragraph_;
  while (!rest.empty()) {
    const std::size_t length = sentence_length(rest);
    // What reaches the end may go on; but a paragraph without any end of sentence must not grow on.
    if (!is_end && length == rest.size() && length < paragraph_.size()) break;
    add_sentence(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  paragraph_.erase(0, paragraph_.size() - rest.size());
}

void DocumentWriter::add_sentence(std::string_view sentence) {
  if (ids_.empty()) ids_.push_back(tokenizer_.vocabulary().cls());
  const std::size_t num_before = ids_.size();
  encoder_.encode(sentence, ids_);
  if (ids_.size() > num_before) sentence_ends_.push_back(static_cast<std::uint32_t>(ids_.size()));
}

template <typename Id>
void DocumentWriter::write_tokens() {
  const std::vector<Id> row(ids_.begin(), ids_.end());
  shard_.append("tokens", bytes_of(row));
}

void DocumentWriter::end_document() {
  flush(true);
  const bool is_empty = sentence_ends_.empty();
  if (is_empty) {
    ++counts_.empty_documents;
  } else {
    const Vocabulary& vocabulary = tokenizer_.vocabulary();
    ids_.push_back(vocabulary.sep());
    if (vocabulary.size() <= kSmallVocabulary) {
      write_tokens<std::uint16_t>();
    } else {
      write_tokens<std::uint32_t>();
    }
    shard_.append("sentences", bytes_of(sentence_ends_));
    ++counts_.documents;
    counts_.tokens += std::ssize(ids_);
    counts_.sentences += std::ssize(sentence_ends_);
    counts_.unknown_tokens += std::count(ids_.begin(), ids_.end(), vocabulary.unk());
    counts_.longest_document = std::max(counts_.longest_document, std::ssize(ids_));
  }
  counts_.invalid_sequences += encoder_.num_invalid() - counted_invalid_;
  counted_invalid_ = encoder_.num_invalid();
  ids_.clear();
  sentence_ends_.clear();
}

}  // namespace kiln
