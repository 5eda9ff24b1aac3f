#pragma once

#include <string>

#include "data/document_writer.h"
#include "data/text_units.h"

namespace kiln {

/// What separates documents in a plain text file. A blank line always ends a paragraph.
enum class DocumentBoundary { kFile, kBlankLine, kLine };
/// "file", "blank_line", "line"; throws Error(kUsage) for anything else.
DocumentBoundary boundary_from_name(const std::string& name);

/// Hands the documents of a part of a file to `writer`. Parts that cover a file yield every line
/// and, except for kFile, every document exactly once and whole: the one a cut falls into belongs
/// to the part it starts in. Throws Error(kData) for a line beyond 1 GiB.
void read_text(const FilePart& part, DocumentBoundary boundary, DocumentWriter& writer);

/// The same for one JSON object a line, its text under `key`; line ends within the text end
/// paragraphs. Invalid UTF-8 is counted and replaced before parsing. Throws Error(kData) naming
/// file and byte for a line that is no object or has no such string.
void read_jsonl(const FilePart& part, const std::string& key, DocumentWriter& writer);

}  // namespace kiln
