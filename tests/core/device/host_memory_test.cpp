#include "core/device/host_memory.h"

#include <gtest/gtest.h>

#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

TEST(HostMemory, GivesABlockAgainAndForgetsWhatIsTooMuch) {
  keep_host_memory();
  const at::Tensor small = at::ones({16});  // goes another way
  ASSERT_EQ(host_memory().used_bytes, 0);
  const void* first = nullptr;
  {
    const at::Tensor tensor = at::zeros({8 * kMiB}, at::kByte);
    first = tensor.data_ptr();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u);
    EXPECT_GE(host_memory().used_bytes, 8 * kMiB);
  }
  EXPECT_EQ(host_memory().used_bytes, 0);
  EXPECT_GE(host_memory().reserved_bytes, 8 * kMiB);
  EXPECT_EQ(at::empty({7 * kMiB}, at::kByte).data_ptr(), first);  // a little smaller fits

  // Ever larger ones leave blocks behind that nothing fits into; no more than twice the most in
  // use.
  for (std::int64_t size = 10; size < 200; size *= 3) at::empty({size * kMiB}, at::kByte);
  EXPECT_LE(host_memory().reserved_bytes, 2 * 92 * kMiB);
  EXPECT_EQ(small.sum().item<float>(), 16.0f);
}

TEST(HostMemory, HoldsWhatTensorsWrite) {
  keep_host_memory();
  std::vector<at::Tensor> tensors;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) tensors.push_back(at::full({300'000 + i * 1000}, i));
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(tensors[static_cast<std::size_t>(i)].eq(i).all().item<bool>());
    }
    tensors.clear();
  }
}

}  // namespace
}  // namespace kiln
