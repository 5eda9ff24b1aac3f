#include <CLI/CLI.hpp>

#include "launch/commands/command.h"

namespace kiln {

const std::vector<Command>& command_table() {
  static const std::vector<Command> table = {
      {"train", "Pretrains what a recipe says; resumes where the run folder has a checkpoint.",
       true, declare_train},
      {"eval", "Evaluates a run, a checkpoint or a Hugging Face folder.", true, declare_eval},
      {"sample", "Draws pictures from a diffusion model.", true, declare_sample},
      {"encode", "Encodes images into latents, texts into hidden states.", true, declare_encode},
      {"export", "Writes a checkpoint as a Hugging Face folder.", false, declare_export},
      {"import", "Makes a checkpoint of a Hugging Face folder.", false, declare_import},
      {"checkpoint", "Lists, verifies, inspects, compares and hashes checkpoints.", true,
       declare_checkpoint},
      {"data", "Makes, describes and checks datasets.", true, declare_data},
      {"launch", "Starts ranks here or on several hosts, restarts what is lost, passes signals on.",
       false, declare_launch},
      {"doctor", "Checks, inside the real launch, that this machine or cluster can train.", true,
       declare_doctor},
      {"replay", "Repeats one step of a run: a bad sample, or bad hardware?", true, declare_replay},
      {"bench", "Measures, beside the ceiling of the machine.", true, declare_bench},
      {"report", "Writes one HTML page of a run, or of several laid over one another.", false,
       declare_report},
      {"tokenizer", "Learns a WordPiece vocabulary; encodes text with one.", true,
       declare_tokenizer},
  };
  return table;
}

void set_examples(CLI::App& app, const std::string& text) { app.footer("\nExamples:\n" + text); }

}  // namespace kiln
