#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/launch/run_fixture.h"

namespace kiln::test {

/// Text of a small made-up language, its tokenizer and datasets, made once per process by the real
/// commands: two novels to train on, one held out.
struct TinyText {
  std::filesystem::path vocabulary, train, held_out, corpus;
};
const TinyText& tiny_text();

/// `sentences` sentences whose words come from a list that `style` shifts.
std::string made_up_text(int sentences, int style);

/// kiln train of a BERT that takes milliseconds a step, 8 micro-batches of 4 windows of 32 tokens,
/// into RUN with overrides, alone (ranks 0) or under mpirun.
std::vector<std::string> train_text(int ranks, const std::filesystem::path& run_dir,
                                    const std::vector<std::string>& overrides = {});

}  // namespace kiln::test
