#include "core/base/error.h"
#include "models/kernels/host_attention_bf16.h"

// Other processors than x86-64 attend in fp32.

namespace kiln {

bool attends_in_bf16(const AttentionHead<Bf16>&) { return false; }

void attend_forward_in_bf16(const AttentionHead<Bf16>&) {
  KILN_CHECK(false, "this processor does not multiply bf16");
}
void attend_backward_in_bf16(const AttentionHead<Bf16>&, const Bf16*, Bf16*, Bf16*, Bf16*) {
  KILN_CHECK(false, "this processor does not multiply bf16");
}

}  // namespace kiln
