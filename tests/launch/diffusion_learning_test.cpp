// AE-5, LDM-3 and DIT-3: the tiny recipes of configs/ learn. The autoencoder is held against the
// mean picture; the networks that draw latents against the best linear predictor, and their samples
// against latents that no network drew.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

const std::filesystem::path kSource = KILN_SOURCE_DIR;
const std::filesystem::path kPictures = kSource / "../shared/data/fashion-mnist";
constexpr std::chrono::seconds kLong(2400);

nlohmann::json json_of(std::vector<std::string> words) {
  words.push_back("--json");
  const Outcome outcome = run(words, kLong);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.exit_code == 0 ? outcome.json() : nlohmann::json::object();
}

std::string import(const std::string& split, const std::filesystem::path& out) {
  const auto file = [&](const char* kind) { return (kPictures / (split + kind)).string(); };
  json_of(kiln({"data", "import", "idx", file("-images-idx3-ubyte.gz"),
                file("-labels-idx1-ubyte.gz"), "--out", out.string()}));
  return out.string();
}

double latent_scale(const std::filesystem::path& latents) {
  std::ifstream in(latents / "dataset.json");
  const auto text = nlohmann::json::parse(in)["attributes"]["latent_scale"].get<std::string>();
  return std::stod(text);
}

/// What a second stage must reach: the tighter of the published aim and the mean of seeds 1 to 3
/// less (or plus) three of their standard deviations; of the U-Net's error seed 0 counts, too,
/// which is well apart (0.79).
struct Bounds {
  double error_of_linear;     // squared error over that of the best linear predictor
  double distance_of_noise;   // Frechet distance over that of latents from N(0, I),
  double distance_of_normal;  // and from the fitted normal distribution
  double accuracy;
};
constexpr Bounds kUNet = {0.831, 0.058, 0.554, 0.866};
constexpr Bounds kTransformer = {0.795, 0.067, 0.664, 0.899};

class DiffusionLearning : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kPictures)) GTEST_SKIP() << kPictures << " is not here";
    train_path_ = import("train", folder_ / "train");
    test_path_ = import("t10k", folder_ / "test");
  }
  nlohmann::json train(const std::string& recipe, const std::string& name,
                       std::vector<std::string> words) {
    words.insert(words.begin(),
                 {"train", (kSource / "configs" / recipe).string(),
                  "run.dir=" + (folder_ / name).string(), fmt::format("run.seed={}", GetParam())});
    return json_of(mpirun(2, kiln(words)));
  }
  std::string autoencoder() {
    train("autoencoder_tiny_fashion.toml", "autoencoder",
          {"data.path=" + train_path_, "eval.path=" + test_path_});
    return (folder_ / "autoencoder").string();
  }
  std::string latents_of(const std::string& pictures, const std::string& autoencoder,
                         const std::string& name) {
    json_of(mpirun(
        2, kiln({"encode", autoencoder, "--data", pictures, "--out", (folder_ / name).string()})));
    return (folder_ / name).string();
  }
  void expect_samples(const std::string& run, const std::string& latents, const Bounds& bounds) {
    const auto known = json_of(mpirun(
        2, kiln({"eval", "likelihood", run, "eval.path=" + latents, "eval.max_samples=1024"})));
    const double mse = known["mse"], linear = known["mse_linear"];
    const auto made = json_of(
        mpirun(2, kiln({"eval", "fid", run, "eval.path=" + train_path_, "eval.max_samples=10000",
                        "--num", "2000", "--steps", "25", "--controls"})));
    const double distance = made["frechet_distance"];
    const double of_noise = distance / made["frechet_noise_latents"].get<double>();
    const double of_normal = distance / made["frechet_normal_latents"].get<double>();
    const auto guided = json_of(
        mpirun(2, kiln({"eval", "fid", run, "eval.path=" + train_path_, "eval.max_samples=10000",
                        "--num", "1000", "--steps", "25", "--guidance", "2"})));
    const double accuracy = guided["class_accuracy"];
    fmt::print(
        "seed {}: {} mse {:.4f} ({:.3f} of the linear predictor's), Frechet {:.4f} = {:.3f} of "
        "noise's, {:.3f} of the normal's; class accuracy {:.3f}\n",
        GetParam(), run, mse, mse / linear, distance, of_noise, of_normal, accuracy);
    EXPECT_LT(mse, 0.55);
    EXPECT_LT(mse, linear * bounds.error_of_linear);
    EXPECT_LT(of_noise, bounds.distance_of_noise);
    EXPECT_LT(of_normal, bounds.distance_of_normal);
    EXPECT_GT(accuracy, bounds.accuracy);
  }

  const std::filesystem::path folder_ = fresh_folder("diffusion_learning");
  std::string train_path_, test_path_;
};

TEST_P(DiffusionLearning, BothStagesLearn) {
  const std::string encoder = autoencoder();
  const auto pixels = json_of(kiln({"eval", "reconstruct", encoder, "eval.max_samples=2000"}));
  const double of_mean_picture =
      pixels["l1"].get<double>() / pixels["l1_mean_picture"].get<double>();
  fmt::print("seed {}: PSNR {:.2f} dB, L1 {:.3f} of the mean picture's\n", GetParam(),
             pixels["psnr"].get<double>(), of_mean_picture);
  EXPECT_GT(pixels["psnr"].get<double>(), 19.0);
  EXPECT_LT(of_mean_picture, 0.267);

  const std::string latents = latents_of(train_path_, encoder, "latents");
  const std::string held_out = latents_of(test_path_, encoder, "latents-test");
  EXPECT_NEAR(latent_scale(latents) / latent_scale(held_out), 1.0, 0.02);

  const std::vector<std::string> words = {"data.path=" + latents, "model.autoencoder=" + encoder};
  train("ldm_tiny_fashion.toml", "ldm", words);
  expect_samples((folder_ / "ldm").string(), held_out, kUNet);
  train("dit_tiny_fashion.toml", "dit", words);
  expect_samples((folder_ / "dit").string(), held_out, kTransformer);
}

TEST_P(DiffusionLearning, CodesAreInUse) {
  train("autoencoder_tiny_vq_fashion.toml", "vq",
        {"data.path=" + train_path_, "eval.path=" + test_path_});
  const auto pixels =
      json_of(kiln({"eval", "reconstruct", (folder_ / "vq").string(), "eval.max_samples=2000"}));
  fmt::print("seed {}: VQ PSNR {:.2f} dB, {:.1f} codes in use\n", GetParam(),
             pixels["psnr"].get<double>(), pixels["codebook_perplexity"].get<double>());
  EXPECT_GT(pixels["psnr"].get<double>(), 19.3);
  EXPECT_GT(pixels["codebook_perplexity"].get<double>(), 32.0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, DiffusionLearning, testing::Values(1, 2, 3));

}  // namespace
}  // namespace kiln::test
