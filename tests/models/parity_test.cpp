// Runs the parity program on the stored cases where they are at hand.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace {

namespace fs = std::filesystem;

class Parity : public testing::TestWithParam<const char*> {};

TEST_P(Parity, HoldsInBothPrecisions) {
  const fs::path path = fs::path(KILN_SOURCE_DIR) / ".." / "shared" / GetParam();
  if (!fs::exists(path)) GTEST_SKIP() << "no stored case " << path;
  const std::string program = std::string(KILN_BIN_DIR) + "/parity";
  EXPECT_EQ(std::system((program + " " + path.string()).c_str()), 0);
  EXPECT_EQ(std::system((program + " --float64 " + path.string()).c_str()), 0);
}

INSTANTIATE_TEST_SUITE_P(Mae, Parity,
                         testing::Values("parity/vitmae", "parity/vitmae_normpix",
                                         "parity/train_vitmae_normpix", "parity/optim",
                                         "parity/vit_cls", "parity/sincos",
                                         "golden/tiny_mae.safetensors"));

INSTANTIATE_TEST_SUITE_P(Bert, Parity,
                         testing::Values("parity/bert", "parity/bert_mlm", "parity/train_bert",
                                         "parity/wordpiece", "golden/tiny_bert.safetensors"));

}  // namespace
