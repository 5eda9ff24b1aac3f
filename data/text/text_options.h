#pragma once

#include <cstdint>
#include <string>

#include "core/recipe/options.h"

namespace kiln {

/// [data] for text.
struct TextOptions {
  std::int64_t sequence_length = 128;
  std::string pairs = "none";
  double short_pairs = 0.1;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("sequence_length", sequence_length, "Tokens per sample, [CLS] and [SEP] included.",
          kIdentity);
    visit("pairs", pairs,
          "none: windows packed without padding | nsp: sentence pairs, half of them with a second "
          "part from elsewhere | sop: pairs, half of them swapped.",
          kIdentity);
    visit("short_pairs", short_pairs, "Share of pairs cut to a random shorter length.", kIdentity);
  }
};

}  // namespace kiln
