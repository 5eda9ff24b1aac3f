#pragma once

#include "models/kernels/host_attention.h"

// Attention of bf16 on processors that multiply bf16: products sum up in fp32, and what is
// multiplied, weights and their gradients included, is rounded to bf16 first, as on a GPU.

namespace kiln {

/// Whether the processor does, and the head has an even width.
bool attends_in_bf16(const AttentionHead<Bf16>& head);

void attend_forward_in_bf16(const AttentionHead<Bf16>& head);
void attend_backward_in_bf16(const AttentionHead<Bf16>& head, const Bf16* dout, Bf16* dq, Bf16* dk,
                             Bf16* dv);

}  // namespace kiln
