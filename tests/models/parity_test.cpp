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

INSTANTIATE_TEST_SUITE_P(Diffusion, Parity,
                         testing::Values("parity/autoencoder_kl", "parity/vqmodel",
                                         "parity/vqmodel_paper", "parity/unet2d",
                                         "parity/unet2dcondition", "parity/dit",
                                         "parity/dit_learn_sigma", "parity/diffusion_vlb",
                                         "parity/schedulers", "golden/tiny_ae_kl.safetensors",
                                         "golden/tiny_ae_vq.safetensors",
                                         "golden/tiny_unet.safetensors",
                                         "golden/tiny_dit_ls0.safetensors",
                                         "golden/tiny_dit_ls1.safetensors"));

}  // namespace
