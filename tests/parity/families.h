#pragma once

#include "tests/parity/runners.h"

// The table of families: each has a file tests/parity/cases/NAME_cases.cpp that defines
// NAME_runners(), and its line here.

#define KILN_PARITY_FAMILIES(FAMILY) \
  FAMILY(augment)                    \
  FAMILY(autoencoder)                \
  FAMILY(bert)                       \
  FAMILY(bound)                      \
  FAMILY(diffusion)                  \
  FAMILY(mae)                        \
  FAMILY(optim)                      \
  FAMILY(resnet)                     \
  FAMILY(scheduler)                  \
  FAMILY(sincos)                     \
  FAMILY(vit)                        \
  FAMILY(wordpiece)

namespace kiln::parity {

#define KILN_DECLARE_FAMILY(NAME) Runners NAME##_runners();
KILN_PARITY_FAMILIES(KILN_DECLARE_FAMILY)
#undef KILN_DECLARE_FAMILY

}  // namespace kiln::parity
