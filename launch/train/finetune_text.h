#pragma once

#include <string>

#include "launch/trained/eval_target.h"

namespace kiln {

/// The recipe by which `kiln eval finetune` trains a BERT as classifier of the labelled texts (JSON
/// lines) eval.train_path, to be tested on eval.path: 3 epochs of 32 samples a step as in
/// arXiv:1810.04805, appendix A.3. The head sees [CLS] if pretraining taught the pooler something,
/// else the mean of the words. With words.is_untrained all weights start anew.
std::string text_finetune_recipe(const TargetArgs& args);

}  // namespace kiln
