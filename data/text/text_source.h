#pragma once

#include <memory>

#include "core/dataset_info.h"
#include "data/batch_source.h"
#include "data/store/dataset.h"
#include "data/text/text_options.h"
#include "data/text/token_stream.h"

namespace kiln {

/// What a model needs to know of the text it will see. Throws Error(kUsage) for options that cannot
/// be, Error(kData) for a dataset that is no text.
DatasetInfo describe_text(const TokenStream& stream, const TextOptions& options);

/// Samples of L = sequence_length tokens:
///   tokens    int64 [B, L]   ids; [PAD] behind the end
///   kind      uint8 [B, L]   TokenKind
///   document  int64 [B, L]   number of the document within the sample, -1 for padding
///   position  int64 [B, L]   place within that document's part of the sample
/// and for pairs
///   segment     int64 [B, L]  0 up to the first [SEP], then 1
///   pair_label  int64 [B]     0: the second part follows the first; 1: it does not
///
/// pairs = "none": sample i is [CLS], the tokens [i (L-2), (i+1) (L-2)) of a shard's stream, [SEP].
/// Where the stream brings its own [CLS] first or [SEP] last, none is added. Documents within a
/// window begin with [CLS] and end with [SEP] too. Only the last window of a shard is padded, and
/// windows at a document's boundary by a token or two.
///
/// pairs = "nsp" or "sop": sample i is the sentences that start within the i-th stretch of L - 3
/// tokens of their document, cut in two between sentences at random (Devlin et al.,
/// arXiv:1810.04805; Lan et al., arXiv:1909.11942). Half of the nsp pairs have their second part
/// replaced by text from elsewhere in the dataset. Unlike in the original code the sentences so
/// replaced are not put back into a later pair: a sample depends on its number and position alone.
/// Other epochs use them, because the draw at their position is another one.
///
/// What is drawn depends on (seed, position). Any sample costs the same, wherever it lies.
std::shared_ptr<const BatchSource> make_text_source(std::shared_ptr<const TokenStream> stream,
                                                    const TextOptions& options, std::uint64_t seed);

}  // namespace kiln
