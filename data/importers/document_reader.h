#pragma once

#include <string>

#include "data/importers/document_writer.h"
#include "data/importers/text_units.h"

namespace kiln {

/// What separates documents in a plain text file. A blank line always ends a paragraph.
enum class DocumentBoundary { kFile, kBlankLine, kLine };
/// "file", "blank_line", "line"; throws Error(kUsage) for anything else.
DocumentBoundary boundary_from_name(const std::string& name);

/// Hands the documents of a part of a file to `writer`. Parts that cover a file yield all of its
/// text once and, except for kFile, documents of up to `whole_bytes` whole: one that reaches into
/// the next part belongs to the part it starts in. Longer ones are cut at the end of a part,
/// between lines (a line as long as that between words), so that memory stays bounded by the parts'
/// size; the parts of a file must be of one size, but for the last. A continuation is counted by
/// the writer.
void read_text(const FilePart& part, DocumentBoundary boundary, std::int64_t whole_bytes,
               DocumentWriter& writer);

/// The same for one JSON object a line, its text under `key`; line ends within the text end
/// paragraphs. Invalid UTF-8 is counted and replaced before parsing. Throws Error(kData) naming
/// file and byte for a line that is no object, has no such string or is longer than 32 MiB.
void read_jsonl(const FilePart& part, const std::string& key, DocumentWriter& writer);

}  // namespace kiln
