// Pictures drawn by texts, through the real program: embeddings beside latents, a model trained on
// both, samples that follow other embeddings; and what is refused on the way.

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "data/latents/context_source.h"
#include "data/store/shard_writer.h"
#include "tests/launch/fixtures/diffusion_fixture.h"
#include "tests/launch/fixtures/text_fixture.h"

namespace kiln::test {
namespace {

constexpr std::int64_t kImages = 512;  // of tiny_images()
constexpr std::int64_t kTokens = 3;
constexpr std::int64_t kWidth = 4;

/// Embeddings as an encoder of texts would write them. Row i tells i % num_texts: text k has 8 at
/// value k of every token and 0 elsewhere.
std::filesystem::path write_embeddings(const std::filesystem::path& folder, std::int64_t num_rows,
                                       std::int64_t num_texts = kWidth,
                                       std::int64_t width = kWidth) {
  constexpr std::uint16_t kEight = 0x4800;  // in float16
  Manifest manifest;
  manifest.kind = "embedding";
  manifest.fields["context"] = {.dtype = DType::kFloat16, .shape = {kTokens, width}};
  DatasetWriter writer(folder, manifest);
  for (std::int64_t i = 0; i < num_rows; ++i) {
    std::vector<std::uint16_t> row(static_cast<std::size_t>(kTokens * width), 0);
    for (std::int64_t token = 0; token < kTokens; ++token) {
      row[static_cast<std::size_t>(token * width + i % num_texts)] = kEight;
    }
    writer.append("context", {reinterpret_cast<const std::uint8_t*>(row.data()), 2 * row.size()});
    writer.end_sample();
  }
  writer.finish();
  return folder;
}

std::vector<std::string> by_texts(const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"model.conditioning=text",
                                    "model.context_dim=" + std::to_string(kWidth),
                                    "model.autoencoder=" + stages().autoencoder.string(),
                                    "optimizer.lr=1e-2", "model.label_dropout=0.2"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

struct TextStages {
  std::filesystem::path embeddings, latents, diffusion;
};

const TextStages& text_stages() {
  static const TextStages made = [] {
    const auto folder = fresh_folder("text_stages");
    TextStages all{folder / "embeddings", folder / "latents", folder / "diffusion"};
    write_embeddings(all.embeddings, kImages);
    const auto expect_done = [](const std::vector<std::string>& words) {
      const Outcome outcome = run(words);
      EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    };
    expect_done(kiln({"encode", stages().autoencoder.string(), "--data", tiny_images().string(),
                      "--context", all.embeddings.string(), "--out", all.latents.string()}));
    expect_done(train_recipe(0, tiny_diffusion_recipe(folder, all.latents), all.diffusion,
                             by_texts({"eval.every=4", "eval.pictures=4"})));
    return all;
  }();
  return made;
}

std::vector<std::uint8_t> context_of(const std::filesystem::path& dataset, std::int64_t row) {
  const Dataset opened(dataset);
  const Dataset::Place place = opened.locate(row);
  std::vector<std::uint8_t> bytes(
      static_cast<std::size_t>(opened.manifest().fields.at("context").row_bytes()));
  opened.shard(place.shard)->read_rows("context", place.row, 1, bytes.data());
  return bytes;
}

class TextConditioning : public DiffusionPipeline {
 protected:
  std::string draw(int ranks, const std::string& name, const std::filesystem::path& context,
                   const std::vector<std::string>& more = {}) {
    const auto out = folder_ / (name + ".png");
    std::vector<std::string> words = {"sample",  text_, "--context", context, "--num", "10",
                                      "--batch", "4",   "--steps",   "3",     "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    json_of(ranks, words);
    return bytes_of(out);
  }

  const std::string embeddings_ = text_stages().embeddings.string();
  const std::string text_latents_ = text_stages().latents.string();
  const std::string text_ = text_stages().diffusion.string();
};

TEST_F(TextConditioning, LatentsCarryTheTextsOfTheirImagesAndOfMirroredOnes) {
  const auto both = folder_ / "both";
  json_of(2, {"encode", autoencoder_, "--data", tiny_images().string(), "--context", embeddings_,
              "--out", both, "--flip"});
  EXPECT_EQ(Dataset(both).num_samples(), 2 * kImages);
  for (const std::int64_t row : {0, 1, 3, 255, 511}) {
    const auto expected = context_of(embeddings_, row);
    EXPECT_EQ(context_of(text_latents_, row), expected) << row;
    EXPECT_EQ(context_of(both, row), expected) << row;
    EXPECT_EQ(context_of(both, row + kImages), expected) << row;
  }
  EXPECT_NE(context_of(both, 0), context_of(both, 1));
}

TEST_F(TextConditioning, SamplesAreTheSameByteForByteOnAnyNumberOfRanks) {
  const std::string first = draw(1, "1", embeddings_, {"--guidance", "2"});
  EXPECT_FALSE(first.empty());
  for (const int ranks : {2, 3}) {
    EXPECT_TRUE(draw(ranks, std::to_string(ranks), embeddings_, {"--guidance", "2"}) == first)
        << ranks << " ranks";
  }
}

TEST_F(TextConditioning, SamplesFollowTheRowsInOrderAndBeginAgainAtTheFirst) {
  const std::string drawn = draw(0, "a", write_embeddings(folder_ / "four", 4));
  EXPECT_TRUE(draw(0, "b", write_embeddings(folder_ / "eight", 8)) == drawn);
  EXPECT_FALSE(draw(0, "c", write_embeddings(folder_ / "other", 8, 3)) == drawn);
}

TEST_F(TextConditioning, TrainingDrawsPicturesByTheTextsItKnows) {
  EXPECT_TRUE(std::filesystem::exists(text_stages().diffusion / "pictures/step-000000004.png"));
  EXPECT_TRUE(std::filesystem::exists(text_stages().diffusion / "pictures/step-000000008.png"));
}

TEST_F(TextConditioning, EvaluationsDoNotDependOnTheNumberOfRanks) {
  const std::vector<std::vector<std::string>> all = {
      {"eval", "likelihood", text_, "eval.max_samples=40"},
      {"eval", "fid", text_, "eval.path=" + tiny_images().string(), "--num", "40", "--steps", "2"}};
  for (const auto& words : all) {
    const auto one = json_of(1, words), three = json_of(3, words);
    for (const char* name : {"mse", "bits_per_value", "frechet_distance"}) {
      if (!one.contains(name)) continue;
      const double expected = one[name].get<double>();
      EXPECT_NEAR(three[name].get<double>(), expected, 1e-9 * std::max(1.0, std::abs(expected)));
    }
  }
}

TEST_F(TextConditioning, UNetsAttendToTexts) {
  const auto run_dir = folder_ / "unet";
  const Outcome outcome = run(train_recipe(
      2, tiny_diffusion_recipe(folder_, text_latents_), run_dir,
      by_texts({"model.preset=unet_tiny", "model.channels=16", "model.attention_levels=[1]",
                "model.norm_groups=4", "train.stop_after=2"})));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  json_of(2, {"sample", run_dir.string(), "--context", embeddings_, "--num", "4", "--steps", "2",
              "--guidance", "3", "--out", folder_ / "out.png"});
}

TEST_F(TextConditioning, GoesFromCaptionsThroughBertToPictures) {
  const auto bert = folder_ / "bert", captions = folder_ / "captions.txt";
  ASSERT_EQ(run(train_text(0, bert, {"train.stop_after=2"})).exit_code, 0);
  {
    std::ofstream lines(captions);
    for (int i = 0; i < kImages; ++i) lines << made_up_text(1, i).substr(0, 40) << "\n";
  }
  const std::string embedded = folder_ / "embedded", latents = folder_ / "latents";
  EXPECT_EQ(json_of(0, {"encode", bert, "--data", captions, "--out", embedded})["samples"],
            kImages);
  json_of(0, {"encode", autoencoder_, "--data", tiny_images().string(), "--context", embedded,
              "--out", latents});
  const auto run_dir = folder_ / "drawn";
  const Outcome outcome =
      run(train_recipe(0, tiny_diffusion_recipe(folder_, latents), run_dir,
                       by_texts({"model.context_dim=32", "train.stop_after=2"})));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  json_of(0, {"sample", run_dir, "--context", embedded, "--num", "4", "--steps", "2", "--guidance",
              "3", "--out", folder_ / "out.png"});
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out.png"));
}

TEST_F(TextConditioning, RefusesTextsThatAreNotOnePerImage) {
  const auto few = write_embeddings(folder_ / "few", 7);
  expect_error({"encode", autoencoder_, "--data", tiny_images().string(), "--context", few, "--out",
                folder_ / "out"},
               2, "has 7 texts for the 512 images");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

TEST_F(TextConditioning, RefusesDataWithoutTexts) {
  const auto recipe = tiny_diffusion_recipe(folder_, latents_);
  expect_training_error(recipe, by_texts(), "come without field 'context'");
  expect_error({"eval", "likelihood", text_, "eval.path=" + latents_}, 2,
               "come without field 'context'");
  expect_error({"encode", autoencoder_, "--data", tiny_images().string(), "--context",
                tiny_images().string(), "--out", folder_ / "out"},
               3, "has no field 'context'");
  expect_error({"sample", text_, "--context", latents_}, 3, "has no field 'context'");
}

TEST_F(TextConditioning, RefusesEmbeddingsOfAnotherWidth) {
  expect_training_error(tiny_diffusion_recipe(folder_, text_latents_),
                        by_texts({"model.context_dim=8"}), "have width 4, the model takes 8");
  const auto wide = write_embeddings(folder_ / "wide", 4, 4, 8);
  expect_error({"sample", text_, "--context", wide}, 2, "have width 8, the model takes 4");
}

TEST_F(TextConditioning, RefusesToDrawWithoutTextsOrWithTextsThatAreNotFollowed) {
  expect_error({"sample", text_}, 2, "give --context");
  expect_error({"sample", diffusion_, "--context", embeddings_}, 2, "follows no texts");
  expect_error({"sample", text_, "--context", embeddings_, "--class", "1"}, 2,
               "a class was asked for");
}

}  // namespace
}  // namespace kiln::test
