#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/importers/import.h"
#include "data/tokenizer/tokenizer.h"

namespace kiln {

/// Text to token shards, on top of what all importers share (inputs, out, threads, ranks,
/// progress).
struct TextImportOptions {
  ImportOptions import;
  std::filesystem::path vocabulary;  // vocab.txt
  NormalizerOptions normalizer;
  bool is_jsonl = false;
  std::string text_key = "text";   // jsonl: the key that holds a document
  std::string documents = "file";  // text: file | blank_line | line
  std::string sentences = "auto";  // auto: by rule, across hard line breaks | line: one per line
  std::int64_t unit_bytes = std::int64_t{64} << 20;   // of input per shard
  std::int64_t whole_bytes = std::int64_t{16} << 20;  // documents up to this are never cut
};

/// Makes token shards of kind "text". Per document, as ragged rows:
///   tokens     uint16 (uint32 for vocabularies beyond 65,536): [CLS] ids ... [SEP]
///   sentences  uint32: end of each sentence, counted in tokens from the document's start
///
/// The input is cut into units of unit_bytes at line ends; each becomes one shard. Which unit holds
/// what follows from names and sizes of the files alone, so any number of ranks and threads makes
/// the same bytes, in memory that depends on unit_bytes and threads alone. A file that is a
/// document is cut where a unit ends, other documents if they began whole_bytes before that or
/// earlier: the parts become documents, and the cuts are counted. Invalid UTF-8 is dropped and
/// counted; empty files and documents are counted.
///
/// Restart: a finished shard is kept if it was made from the same plan (inputs, sizes, options,
/// tokenizer); another plan in the same folder is refused.
///
/// Throws Error(kData) naming file and byte for what cannot be read: a missing key or malformed
/// JSON, an object beyond 32 MiB, what is no text (data/tokenizer/text_file.h).
ImportResult import_text(const TextImportOptions& options);

/// Ends an import on one rank, after import_text has returned on all: writes dataset.json, and
/// vocab.txt beside it. Attributes: vocab_size, tokenizer_hash, lowercase, strip_accents, tokens,
/// shard_tokens (comma-separated), sentences, unknown_tokens, invalid_sequences, empty_documents,
/// longest_document, document_cuts, input_bytes.
FinishedImport finish_text_import(const TextImportOptions& options);

}  // namespace kiln
