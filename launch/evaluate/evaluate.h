#pragma once

#include <filesystem>
#include <string>

#include "launch/generate/picture_maker.h"
#include "launch/run/result.h"
#include "launch/trained/eval_target.h"

namespace kiln {

struct EvaluateArgs {
  std::string what;  // knn | linear | finetune | reconstruct | mlm | ngram | fid | likelihood
  TargetArgs target;
  std::filesystem::path out;  // of reconstruct's picture
  std::string text = {};      // mlm: a sentence with [MASK] to fill in
  // fid
  PictureOptions pictures = {};
  std::int64_t num = 2000;
  std::string features = "pixels";
  bool has_controls = false;
};

/// `kiln eval`: evaluates, prints the figures and keeps them in RUN/evaluations.jsonl. Result: the
/// figures, with "evaluation" and "of".
CommandResult evaluate(const EvaluateArgs& args);

}  // namespace kiln
