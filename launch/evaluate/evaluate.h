#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "launch/evaluate/evaluations.h"
#include "launch/run/result.h"
#include "launch/trained/trained_model.h"

namespace CLI {
class App;
}

namespace kiln {

/// A row of the table of evaluations (launch/commands/eval.cpp): `kiln eval NAME ...`.
struct Evaluation {
  std::string name;
  std::string summary;  // one line of `kiln eval --help`
  /// Declares arguments and options on the subcommand, and returns what runs.
  std::function<std::function<CommandResult()>(CLI::App& app)> declare;
};

struct EvaluateArgs {
  std::string what;  // name of the evaluation
  TrainedModelArgs target;
  bool has_picture = false;        // also of what the model reconstructs
  std::filesystem::path out = {};  // the picture; empty: RUN/reconstructions.png
};

/// Evaluates a model on eval.path by `compute`, prints the figures and keeps them in
/// RUN/evaluations.jsonl. Result: the figures, with "evaluation" and "of".
CommandResult evaluate(const EvaluateArgs& args,
                       const std::function<Figures(const Evaluated&)>& compute);

/// The likeliest words for each [MASK] in `text`, best first: `kiln eval mlm RUN --text "..."`.
CommandResult fill_gaps(const TrainedModelArgs& args, const std::string& text);

}  // namespace kiln
