#pragma once

#include "launch/run/result.h"
#include "launch/trained/trained_model.h"

namespace kiln {

/// `kiln eval finetune`: trains a classifier from these weights (FineTunable) on eval.train_path,
/// all of it or what the family's recipe says, in a run folder beside the run's (RUN/finetune), and
/// classifies eval.path. Text models learn from files of JSON lines. Words of the command line
/// override the recipe; with --untrained all weights start anew. Can be stopped and resumed as any
/// run. Result: what training returns, and "accuracy".
CommandResult finetune(const TrainedModelArgs& args);

}  // namespace kiln
