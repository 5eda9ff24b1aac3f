#pragma once

#include "models/interchange/names.h"
#include "models/mae/mae.h"

// ViT and ViTMAE under the names of checkpoint files on the Hugging Face hub
// (ViTMAEForPreTraining, ViTForImageClassification).

namespace kiln {

NameTable vit_mae_names(const MaeShape& shape);
/// Dialects of ViTMAE files that import accepts: some writers spell the decoder's layers as another
/// encoder.
std::vector<NameAlias> vit_mae_aliases();

/// A classifier that pools the class token.
NameTable vit_classifier_names(const VitShape& shape);

/// Rules of the blocks "OURS.i" against layers "THEIRS.i".
void add_vit_blocks(NameTable& table, const std::string& ours, const std::string& theirs,
                    std::int64_t depth);
/// Rules of the embeddings (class token, positions, patch projection) and blocks of an encoder.
void add_vit_encoder(NameTable& table, const VitShape& shape);

}  // namespace kiln
