#pragma once

#include "tests/parity/runners.h"

// The table of families: each has a file NAME_cases.cpp in tests/parity/cases that defines
// NAME_runners(), and its line here.

#define KILN_PARITY_FAMILIES(FAMILY) \
  FAMILY(augment)                    \
  FAMILY(autoencoder)                \
  FAMILY(bert)                       \
  FAMILY(bound)                      \
  FAMILY(contrast)                   \
  FAMILY(density)                    \
  FAMILY(diffusion)                  \
  FAMILY(dino)                       \
  FAMILY(gpt)                        \
  FAMILY(mae)                        \
  FAMILY(moby)                       \
  FAMILY(moco)                       \
  FAMILY(ngram)                      \
  FAMILY(optim)                      \
  FAMILY(resnet)                     \
  FAMILY(scheduler)                  \
  FAMILY(simclr)                     \
  FAMILY(sincos)                     \
  FAMILY(transport)                  \
  FAMILY(vit)                        \
  FAMILY(wordpiece)

namespace kiln::parity {

#define KILN_DECLARE_FAMILY(NAME) Runners NAME##_runners();
KILN_PARITY_FAMILIES(KILN_DECLARE_FAMILY)
#undef KILN_DECLARE_FAMILY

}  // namespace kiln::parity
