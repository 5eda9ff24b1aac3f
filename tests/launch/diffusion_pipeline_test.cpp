// From images to pictures of a model through the real program: autoencoder, latents, diffusion,
// samples, evaluations; and what is refused on the way.

#include <gtest/gtest.h>

#include "tests/launch/fixtures/diffusion_fixture.h"

namespace kiln::test {
namespace {

using Pipeline = DiffusionPipeline;

TEST_F(Pipeline, SamplesAreTheSameByteForByteOnAnyNumberOfRanks) {
  std::string first;
  for (const int ranks : {1, 2, 3}) {
    const auto out = folder_ / (std::to_string(ranks) + ".png");
    const auto result =
        json_of(ranks, {"sample", diffusion_, "--num", "10", "--batch", "4", "--steps", "3",
                        "--sampler", "ddpm", "--guidance", "2", "--out", out.string()});
    EXPECT_EQ(result["samples"], 10);
    if (ranks == 1) first = bytes_of(out);
    EXPECT_FALSE(first.empty());
    EXPECT_TRUE(bytes_of(out) == first) << ranks << " ranks";
  }
}

TEST_F(Pipeline, SamplesAsADatasetAreThoseOfAnyNumberOfRanksToo) {
  for (const int ranks : {1, 2}) {
    const auto out = folder_ / std::to_string(ranks);
    json_of(ranks, {"sample", diffusion_, "--num", "10", "--batch", "4", "--steps", "2", "--out",
                    out.string()});
  }
  EXPECT_TRUE(bytes_of(folder_ / "1" / "shard-00000.h5") ==
              bytes_of(folder_ / "2" / "shard-00000.h5"));
  const auto info = nlohmann::json::parse(bytes_of(folder_ / "1" / "dataset.json"));
  EXPECT_EQ(info["num_samples"], 10);
  EXPECT_EQ(info["class_names"].size(), 4u);
}

TEST_F(Pipeline, LatentsAreTheSameOnAnyNumberOfRanksAndNoteTheirOrigin) {
  const auto three = json_of(3, {"encode", autoencoder_, "--data", tiny_images().string(), "--out",
                                 (folder_ / "three").string()});
  EXPECT_EQ(three["samples"], 512);
  EXPECT_GT(three["latent_scale"].get<double>(), 0.0);
  const auto kept = nlohmann::json::parse(bytes_of(stages().latents / "dataset.json"));
  EXPECT_EQ(bytes_of(folder_ / "three" / "shard-00000.h5"),
            bytes_of(stages().latents / "shard-00000.h5"));
  EXPECT_EQ(kept["attributes"]["autoencoder_hash"], three["autoencoder_hash"]);
}

TEST_F(Pipeline, FlippedCopiesComeAfterTheImages) {
  const auto both = json_of(2, {"encode", autoencoder_, "--data", tiny_images().string(), "--out",
                                (folder_ / "both").string(), "--flip"});
  EXPECT_EQ(both["samples"], 1024);
}

TEST_F(Pipeline, EvaluationsDoNotDependOnTheNumberOfRanks) {
  const std::vector<std::vector<std::string>> all = {
      {"eval", "reconstruct", autoencoder_, "eval.max_samples=100"},
      {"eval", "likelihood", diffusion_, "eval.max_samples=100"},
      {"eval", "fid", diffusion_, "eval.path=" + tiny_images().string(), "--num", "40", "--steps",
       "2", "--controls"}};
  for (const auto& words : all) {
    const auto one = json_of(1, words), three = json_of(3, words);
    for (const auto& [name, value] : one.items()) {
      if (!value.is_number()) continue;
      const double expected = value.get<double>();
      EXPECT_NEAR(three[name].get<double>(), expected, 1e-9 * std::max(1.0, std::abs(expected)))
          << words[1] << " " << name;
    }
  }
}

TEST_F(Pipeline, AFolderForDiffusersDrawsTheSamePictures) {
  const auto folder = folder_ / "hub", a = folder_ / "a.png", b = folder_ / "b.png";
  ASSERT_EQ(run_kiln(0, {"export", diffusion_, "--format", "huggingface", "--out", folder.string()})
                .exit_code,
            0);
  const std::vector<std::string> drawing = {"--num", "4", "--batch", "4", "--steps", "3"};
  const auto draw = [&](const std::string& of, const std::filesystem::path& out) {
    std::vector<std::string> words = {"sample",     of,      "--autoencoder",
                                      autoencoder_, "--out", out.string()};
    words.insert(words.end(), drawing.begin(), drawing.end());
    json_of(0, words);
    return bytes_of(out);
  };
  EXPECT_TRUE(draw(diffusion_, a) == draw(folder.string(), b));
}

TEST_F(Pipeline, AnAutoencodersFolderCarriesTheScaleMeasuredOnItsLatents) {
  const auto scale_in = [](const std::filesystem::path& folder) {
    return nlohmann::json::parse(bytes_of(folder / "config.json"))["scaling_factor"].get<double>();
  };
  const auto dataset = nlohmann::json::parse(bytes_of(stages().latents / "dataset.json"));
  const double measured = std::stod(dataset["attributes"]["latent_scale"].get<std::string>());
  for (const std::string& latents : {latents_, diffusion_}) {
    const std::string out = folder_ / std::filesystem::path(latents).filename();
    ASSERT_EQ(run_kiln(0, {"export", autoencoder_, "--latents", latents, "--out", out}).exit_code,
              0);
    EXPECT_EQ(scale_in(out), measured) << latents;
  }
  const std::string hub = folder_ / "latents", imported = folder_ / "in", again = folder_ / "again";
  ASSERT_EQ(run_kiln(0, {"import", hub, "--out", imported}).exit_code, 0);
  ASSERT_EQ(run_kiln(0, {"export", imported, "--out", again}).exit_code, 0);
  for (const char* file : {"config.json", "diffusion_pytorch_model.safetensors"}) {
    EXPECT_TRUE(bytes_of(folder_ / "again" / file) == bytes_of(folder_ / "latents" / file)) << file;
  }
}

TEST_F(Pipeline, AnExportSaysWhenItDoesNotKnowTheScale) {
  const std::string unknown = folder_ / "unknown", wrong = folder_ / "wrong";
  EXPECT_NE(run_kiln(0, {"export", autoencoder_, "--out", unknown}).err.find("--latents"),
            std::string::npos);
  expect_error({"export", diffusion_, "--latents", latents_, "--out", wrong}, 2,
               "is no autoencoder");
  expect_error({"export", autoencoder_, "--latents", autoencoder_, "--out", wrong}, 2,
               "neither a dataset made by");
}

TEST_F(Pipeline, PixelModelsNeedNoAutoencoder) {
  const auto recipe = tiny_diffusion_recipe(folder_, tiny_images());
  const auto run_dir = folder_ / "pixels";
  ASSERT_EQ(run(train_recipe(
                    0, recipe, run_dir,
                    {"model.name=pixel_diffusion", "model.formulation=flow", "train.stop_after=2"}))
                .exit_code,
            0);
  json_of(2, {"sample", run_dir.string(), "--num", "4", "--steps", "2", "--out",
              (folder_ / "out.png").string()});
  const auto known = json_of(2, {"eval", "likelihood", run_dir.string(), "eval.max_samples=4"});
  EXPECT_GT(known["mse"].get<double>(), known["mse_linear"].get<double>());
}

TEST_F(Pipeline, TrainingDrawsPicturesOnTheWay) {
  const auto recipe = tiny_diffusion_recipe(folder_, stages().latents);
  const Outcome outcome =
      run(train_recipe(2, recipe, folder_ / "run",
                       {"model.autoencoder=" + autoencoder_, "eval.every=4", "eval.pictures=4"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run" / "pictures" / "step-000000004.png"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run" / "pictures" / "step-000000008.png"));
}

TEST_F(Pipeline, RefusesLatentsOfAnotherAutoencoder) {
  const auto recipe = tiny_diffusion_recipe(folder_, stages().latents);
  expect_training_error(recipe, {"model.autoencoder_hash=0123"}, "another autoencoder");
  const auto other = folder_ / "other";
  ASSERT_EQ(run(train_recipe(0, tiny_autoencoder_recipe(folder_), other,
                             {"run.seed=6", "train.stop_after=1"}))
                .exit_code,
            0);
  expect_error({"sample", diffusion_, "--autoencoder", other.string()}, 2,
               "did not make the latents");
  expect_training_error(recipe, {"model.autoencoder=" + other.string(), "eval.every=4"},
                        "did not make the latents");
  expect_error({"export", other.string(), "--latents", latents_, "--out", folder_ / "hub"}, 2,
               "are of another autoencoder");
}

TEST_F(Pipeline, RefusesAnImageSizeTheAutoencoderCannotHalve) {
  expect_training_error(tiny_autoencoder_recipe(folder_), {"model.multipliers=[1, 1, 1, 1, 1, 1]"},
                        "cannot be reduced 32 times");
}

TEST_F(Pipeline, RefusesAClassBeyondTheTable) {
  expect_error({"sample", diffusion_, "--class", "4"}, 2, "class 4 is beyond the table");
}

TEST_F(Pipeline, RefusesClassesOfImagesThatHaveNone) {
  const auto flat = folder_ / "flat", unlabelled = folder_ / "unlabelled";
  std::filesystem::create_directories(flat);
  json_of(0, {"sample", diffusion_, "--num", "1", "--steps", "1", "--out", flat / "one.png"});
  json_of(0, {"data", "import", "images", flat.string(), "--out", unlabelled.string()});
  expect_training_error(
      tiny_diffusion_recipe(folder_, unlabelled),
      {"model.name=pixel_diffusion", "model.num_classes=4", "data.size=16", "data.crop=center"},
      "come without labels");
}

TEST_F(Pipeline, RefusesGuidanceOfAModelWithoutConditions) {
  const auto recipe = tiny_diffusion_recipe(folder_, stages().latents);
  ASSERT_EQ(run(train_recipe(0, recipe, folder_ / "blind",
                             {"model.conditioning=none", "train.stop_after=1",
                              "model.autoencoder=" + autoencoder_}))
                .exit_code,
            0);
  expect_error({"sample", (folder_ / "blind").string(), "--guidance", "2"}, 2, "guidance 2");
  expect_error({"sample", (folder_ / "blind").string(), "--class", "1"}, 2,
               "a class was asked for");
}

TEST_F(Pipeline, RefusesASamplerThatDoesNotFit) {
  expect_error({"sample", diffusion_, "--sampler", "flow_heun"}, 2,
               "does not fit a model trained as ddpm");
  expect_error({"sample", diffusion_, "--sampler", "ddim", "--steps", "2000"}, 2, "2000");
}

TEST_F(Pipeline, RefusesModelsOfAnotherKind) {
  expect_error({"sample", autoencoder_}, 2, "draws no pictures");
  expect_error(
      {"encode", diffusion_, "--data", tiny_images().string(), "--out", (folder_ / "out").string()},
      2, "encodes neither images nor texts");
  expect_error({"eval", "fid", diffusion_}, 2, "eval.path=DATASET is missing");
  expect_error({"eval", "likelihood", autoencoder_}, 2, "no likelihood");
}

TEST_F(Pipeline, RefusesToDecodeWithoutAnAutoencoder) {
  expect_error({"sample", diffusion_, "model.autoencoder=\"\""}, 2, "--autoencoder");
}

}  // namespace
}  // namespace kiln::test
