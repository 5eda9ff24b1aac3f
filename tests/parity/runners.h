#pragma once

#include <string>
#include <vector>

#include "tests/parity/case.h"
#include "tests/parity/report.h"

namespace kiln::parity {

/// Runs our implementation on a case and compares; may rename its tensors to the names of our
/// tables. One function per family of models, each in a file of its own; runners.cpp lists them.
using Runner = void (*)(Case& reference, Report& report);

/// By the case's "runner" in case.json, else by its name. Null if there is none.
Runner find_runner(const Case& reference);

void run_autoencoder_kl(Case& reference, Report& report);
void run_bert(Case& reference, Report& report);
void run_diffusion_vlb(Case& reference, Report& report);
void run_dit(Case& reference, Report& report);
void run_optim(Case& reference, Report& report);
void run_schedulers(Case& reference, Report& report);
void run_sincos(Case& reference, Report& report);
void run_tiny_ae_kl(Case& reference, Report& report);
void run_tiny_ae_vq(Case& reference, Report& report);
void run_tiny_bert(Case& reference, Report& report);
void run_tiny_dit(Case& reference, Report& report);
void run_tiny_mae(Case& reference, Report& report);
void run_tiny_unet(Case& reference, Report& report);
void run_train_bert(Case& reference, Report& report);
void run_train_vit_mae(Case& reference, Report& report);
void run_unet2d(Case& reference, Report& report);
void run_unet2d_condition(Case& reference, Report& report);
void run_vit_classifier(Case& reference, Report& report);
void run_vit_mae(Case& reference, Report& report);
void run_vq_model(Case& reference, Report& report);
void run_wordpiece(Case& reference, Report& report);

}  // namespace kiln::parity
