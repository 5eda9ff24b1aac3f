// Runs the parity program on the stored cases where they are at hand.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/torch.h"
#include "tests/support/program.h"
#include "tests/support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;

const std::string kParity = std::string(KILN_BIN_DIR) + "/parity";

class Parity : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!fs::exists(path_)) GTEST_SKIP() << "no stored case " << path_;
  }
  void expect_holds(std::vector<std::string> words) {
    words.insert(words.begin(), kParity);
    words.push_back(path_.string());
    const kiln::test::Outcome outcome = kiln::test::run(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  }

  const fs::path path_ = fs::path(KILN_SOURCE_DIR) / ".." / "shared" / GetParam();
};

TEST_P(Parity, HoldsInBothPrecisions) {
  expect_holds({});
  expect_holds({"--float64"});
}

TEST_P(Parity, HoldsInBothPrecisionsOnAGpu) {
  if (!torch::cuda::is_available()) {
    GTEST_SKIP() << "no GPU: none visible, no driver, or a build without CUDA";
  }
  expect_holds({"--device", "cuda"});
  expect_holds({"--device", "cuda", "--float64"});
}

TEST(ParityProgram, RefusesAGpuThatIsNotThere) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "there is a GPU";
  const kiln::test::Outcome outcome = kiln::test::run({kParity, "--device", "cuda", "nowhere"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.err,
            "parity: --device cuda: this program sees no GPU: no driver, none visible "
            "(CUDA_VISIBLE_DEVICES), or a build without CUDA\n");
}

// The runner in case.json, or where there is none the files, say what a case is.
TEST(ParityProgram, DoesNotLookAtNamesOfFolders) {
  const fs::path cases = fs::path(KILN_SOURCE_DIR) / ".." / "shared" / "parity";
  if (!fs::exists(cases)) GTEST_SKIP() << "no stored cases " << cases;
  const kiln::TemporaryFolder folder;
  std::vector<std::string> words = {kParity};
  for (const char* name : {"train_bert", "schedulers", "sincos", "diffusion_vlb"}) {
    words.push_back((folder / ("case-" + std::to_string(words.size()))).string());
    fs::copy(cases / name, words.back());
  }
  const kiln::test::Outcome outcome = kiln::test::run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

TEST(ParityProgram, NamesTheRunnersThereAre) {
  const kiln::TemporaryFolder folder;
  std::ofstream(folder / "case.json") << R"({"runner": "unheard_of"})";
  const kiln::test::Outcome outcome = kiln::test::run({kParity, folder.path().string()});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.err.find("no runner for 'unheard_of'; there are"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Views, Parity, testing::Values("parity/augment"));

INSTANTIATE_TEST_SUITE_P(Gpt, Parity,
                         testing::Values("parity/igpt", "parity/igpt_bert",
                                         "parity/vqgan_transformer"));

INSTANTIATE_TEST_SUITE_P(Measures, Parity, testing::Values("parity/em", "parity/kn", "parity/ot"));
INSTANTIATE_TEST_SUITE_P(Mae, Parity,
                         testing::Values("parity/vitmae", "parity/vitmae_normpix",
                                         "parity/train_vitmae_normpix", "parity/optim",
                                         "parity/vit_cls", "parity/sincos",
                                         "golden/tiny_mae.safetensors"));

INSTANTIATE_TEST_SUITE_P(Bert, Parity,
                         testing::Values("parity/bert", "parity/bert_mlm", "parity/train_bert",
                                         "parity/wordpiece", "golden/tiny_bert.safetensors"));

INSTANTIATE_TEST_SUITE_P(
    Diffusion, Parity,
    testing::Values("parity/autoencoder_kl", "parity/vqmodel", "parity/vqmodel_paper",
                    "parity/unet2d", "parity/unet2dcondition", "parity/dit",
                    "parity/dit_learn_sigma", "parity/diffusion_vlb", "parity/schedulers",
                    "golden/tiny_ae_kl.safetensors", "golden/tiny_ae_vq.safetensors",
                    "golden/tiny_unet.safetensors", "golden/tiny_dit_ls0.safetensors",
                    "golden/tiny_dit_ls1.safetensors"));

INSTANTIATE_TEST_SUITE_P(ResNet, Parity,
                         testing::Values("parity/resnet18", "parity/resnet18_cifar",
                                         "parity/resnet50"));

INSTANTIATE_TEST_SUITE_P(Contrast, Parity,
                         testing::Values("parity/ntxent", "parity/contrastive", "parity/simclr",
                                         "parity/moco_v2", "parity/moco_v3", "parity/moby",
                                         "parity/dino"));

}  // namespace
