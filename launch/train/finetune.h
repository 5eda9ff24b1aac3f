#pragma once

#include "launch/run/result.h"
#include "launch/trained/eval_target.h"

namespace kiln {

/// `kiln eval finetune`: trains the encoder with a linear head on eval.train_path, every weight of
/// it, in the run folder RUN/finetune, and classifies eval.path. Defaults are those of
/// arXiv:2111.06377, table 9, scaled to the dataset; words of the command line override them. Can
/// be stopped and resumed as any run. BERT learns from labelled texts
/// (launch/train/finetune_text.h). Result: what training returns, and "accuracy".
CommandResult finetune(const TargetArgs& args);

}  // namespace kiln
