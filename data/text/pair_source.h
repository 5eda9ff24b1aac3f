#pragma once

#include <memory>

#include "data/batch_source.h"
#include "data/text/text_options.h"
#include "data/text/token_stream.h"

namespace kiln {

/// Sentence pairs as data/text/text_source.h describes them: options.pairs = "nsp" or "sop".
std::shared_ptr<const BatchSource> make_pair_source(std::shared_ptr<const TokenStream> stream,
                                                    const TextOptions& options, std::uint64_t seed);

}  // namespace kiln
