#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/objective.h"
#include "models/resnet/resnet.h"
#include "tests/parity/report.h"
#include "tests/parity/trainee.h"

// Steps of coupled phases, as core/training runs them on one rank.

namespace kiln::parity {

/// Rows of all micro-batches, the loss of them, and its gradient sent back through each: what
/// core/training/coupled_pass.h does. The parameters' gradients are added to.
struct CoupledStep {
  at::Tensor loss;
  Rows rows;       // of all micro-batches, detached
  Rows gradients;  // of the loss with respect to them; undefined where there is none
  Sums sums;
};
CoupledStep coupled_step(Objective& objective, const std::vector<Batch>& batches,
                         const StepContext& context);

/// average <- decay average + (1 - decay) weights, for all averages; 0 copies.
void move_averages(Objective& objective, double decay);

/// Sum over the row-major index k of w_k cos(k): how the cases store a network's state briefly.
at::Tensor checksum(const at::Tensor& weights);

/// Pictures of a case, [B, C, H, W], as batches hold them.
at::Tensor pictures(const Case& reference, const std::string& tensor);

/// The residual network of basic blocks of a case's settings.
ResNetShape resnet_of(const nlohmann::json& settings);

}  // namespace kiln::parity
