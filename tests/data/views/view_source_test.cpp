#include "data/views/view_source.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/image_source.h"
#include "data/kinds.h"
#include "data/loader.h"
#include "data/store/shard_writer.h"
#include "data/views/augment.h"
#include "tests/data/patterns.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

constexpr const char* kEngine = "[train]\nsteps = 1\nglobal_batch = 8\n[optimizer]\nlr = 0.1\n";
constexpr const char* kMultiCrop =
    "[[data.views]]\ncount = 2\nsize = 32\nscale = [0.4, 1.0]\nflip = 0.5\n"
    "jitter = [0.4, 0.4, 0.2, 0.1]\njitter_p = 0.8\ngrey = 0.2\nblur = 0.5\n"
    "[[data.views]]\ncount = 3\nsize = 16\nscale = [0.05, 0.4]\nsolarise = 0.5\n";

class Views : public testing::Test {
 protected:
  // `num` pictures of 40 x 30 or so; JPEG files of different sizes, or pixels.
  void write(std::int64_t num, std::int64_t channels, bool is_jpeg) {
    Manifest manifest;
    manifest.kind = "image";
    if (is_jpeg) {
      manifest.fields["image"] = {DType::kUInt8, {}, true, false, "image"};
      manifest.attributes["channels"] = std::to_string(channels);
    } else {
      manifest.fields["image"] = {DType::kUInt8, {30, 40, channels}, false, false, "raw"};
    }
    manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
    DatasetWriter writer(path(), manifest, 1 << 14);
    for (std::int64_t id = 0; id < num; ++id) {
      const Image picture = picture_of(id, channels, is_jpeg);
      if (is_jpeg) {
        writer.append("image", encode_jpeg(picture, 95));
      } else {
        writer.append("image", picture.pixels);
      }
      writer.append_value<std::int32_t>("label", static_cast<std::int32_t>(id));
      writer.end_sample();
    }
    writer.finish();
  }

  static Image picture_of(std::int64_t id, std::int64_t channels, bool is_jpeg) {
    Image picture = is_jpeg ? pattern(40 + id, 30 + 2 * id, channels) : pattern(40, 30, channels);
    for (std::uint8_t& x : picture.pixels) x = static_cast<std::uint8_t>(x + 11 * id);
    return picture;
  }

  std::filesystem::path path() const { return folder_.path() / "d"; }
  std::string recipe(const std::string& data) const {
    return "[data]\npath = \"" + path().string() + "\"\n" + data + kEngine;
  }
  OpenedData open(const std::string& data, DataUse use = DataUse::kTraining,
                  const std::vector<std::string>& overrides = {}) const {
    RecipeReader reader = RecipeReader::from_text(recipe(data), "test", overrides);
    const Recipe engine = read_engine_sections(reader);
    OpenedData opened = open_data(reader, engine, "image", use);
    reader.finish();
    return opened;
  }
  std::string error_of(const std::string& data) const {
    try {
      open(data);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
};

Image image_of(const at::Tensor& tensor) {
  Image image(tensor.size(1), tensor.size(0), tensor.size(2));
  const at::Tensor whole = tensor.contiguous();
  std::copy_n(whole.data_ptr<std::uint8_t>(), whole.numel(), image.pixels.data());
  return image;
}

TEST_F(Views, ABatchHoldsEveryGroupInItsSize) {
  write(6, 3, true);
  const OpenedData data = open(kMultiCrop);
  const Batch batch = DatasetReader(data.source, 2).read(0, 6);
  EXPECT_EQ(batch.tensors.size(), 6u);
  for (const auto& [name, size] : {std::pair{"image.0", 32},
                                   {"image.1", 32},
                                   {"image.2", 16},
                                   {"image.3", 16},
                                   {"image.4", 16}}) {
    EXPECT_EQ(batch.at(name).sizes().vec(), (std::vector<std::int64_t>{6, size, size, 3}));
  }
  EXPECT_EQ(batch.at("label")[4].item<std::int64_t>(), 4);
  ASSERT_EQ(data.info.views.size(), 5u);
  EXPECT_EQ(data.info.views[1].group, 0);
  EXPECT_EQ(data.info.views[2].group, 1);
  EXPECT_EQ(data.info.views[4].size, 16);
  EXPECT_EQ(data.info.height, 32);
}

TEST_F(Views, AreThoseOfTheWholePictureDecoded) {
  for (const bool is_jpeg : {true, false}) {
    for (const std::int64_t channels : {1, 3}) {
      std::filesystem::remove_all(path());
      write(4, channels, is_jpeg);
      const OpenedData data = open(kMultiCrop, DataUse::kTraining, {"run.seed=9"});
      const Batch batch = DatasetReader(data.source, 1).read(0, 4);
      ImageOptions options;
      RecipeReader reader = RecipeReader::from_text(recipe(kMultiCrop), "test", {});
      reader.read("data", options);
      for (std::int64_t id = 0; id < 4; ++id) {
        Image picture = picture_of(id, channels, is_jpeg);
        if (is_jpeg) picture = ImageDecoder(encode_jpeg(picture, 95)).decode(channels);
        for (std::int64_t v = 0; v < 5; ++v) {
          const ViewOptions& group = options.views[v < 2 ? 0 : 1];
          const ViewDraw draw = draw_view(group, 9, id, v, picture.width, picture.height);
          Image view(group.size, group.size, channels);
          make_view(ImageView(picture, draw.region), group, draw, view.pixels.data());
          EXPECT_EQ(image_of(batch.at("image." + std::to_string(v))[id]), view)
              << "picture " << id << ", view " << v;
        }
      }
    }
  }
}

// Bytes of every view by position.
std::map<std::int64_t, std::string> read_all(const OpenedData& data, std::int64_t num_ranks,
                                             std::int64_t num_threads) {
  std::map<std::int64_t, std::string> seen;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    LoaderOptions options;
    options.global_batch = 24;
    options.micro_batch = 4;
    options.rank = rank;
    options.num_ranks = num_ranks;
    options.num_threads = num_threads;
    options.timeout_s = 60.0;
    ThreadedLoader loader(data.source, SampleOrder(data.order), options, nullptr);
    loader.start(0);
    for (int step = 0; step < 3; ++step) {
      for (const Batch& batch : loader.next()) {
        for (std::int64_t b = 0; b < batch.num_samples; ++b) {
          std::string& bytes = seen[batch.first_position + b];
          for (const auto& [name, tensor] : batch.tensors) {
            const at::Tensor row = tensor[b].contiguous();
            bytes.append(static_cast<const char*>(row.data_ptr()), row.nbytes());
          }
        }
      }
    }
  }
  return seen;
}

TEST_F(Views, DependOnNoNumberOfThreadsOrRanks) {
  write(10, 3, true);
  const OpenedData data = open(kMultiCrop);
  const auto expected = read_all(data, 1, 1);
  ASSERT_EQ(expected.size(), 72u);
  for (const auto& [ranks, threads] : {std::pair{1, 4}, {2, 1}, {3, 2}, {4, 3}}) {
    EXPECT_EQ(read_all(data, ranks, threads), expected) << ranks << " ranks, " << threads;
  }
}

TEST_F(Views, EpochsSeeOtherViews) {
  write(8, 3, true);
  const auto seen = read_all(open(kMultiCrop + std::string("[run]\nseed = 3\n"), DataUse::kTraining,
                                  {"data.shuffle=false"}),
                             1, 2);
  EXPECT_NE(seen.at(1), seen.at(9));
}

TEST_F(Views, AnEvaluationSeesTheMiddleAtTheFirstSize) {
  write(3, 3, true);
  const OpenedData data = open(kMultiCrop, DataUse::kEvaluation);
  const Batch batch = DatasetReader(data.source, 1).read(0, 3);
  ImageOptions still;
  still.size = 32;
  still.crop = "center";
  const auto expected = make_image_source(std::make_shared<const Dataset>(path()), still, 1);
  EXPECT_TRUE(at::equal(batch.at("image"), DatasetReader(expected, 1).read(0, 3).at("image")));
  EXPECT_EQ(batch.tensors.count("image.0"), 0u);
  EXPECT_EQ(data.info.views.size(), 5u);
  EXPECT_EQ(data.info.width, 32);
}

TEST_F(Views, AnEvaluationKeepsTheInterpolation) {
  write(3, 3, true);
  const auto picture = [&](const std::string& filter) {
    const std::string views = "[[data.views]]\nsize = 20\ninterpolation = \"" + filter + "\"\n";
    return DatasetReader(open(views, DataUse::kEvaluation).source, 1).read(0, 3).at("image");
  };
  EXPECT_FALSE(at::equal(picture("bilinear"), picture("bicubic")));
}

TEST_F(Views, SizesComeFromDataSizeAndOverrides) {
  write(2, 3, true);
  const std::string views = "size = 24\n[[data.views]]\n[[data.views]]\nsize = 12\n";
  EXPECT_EQ(open(views).info.views[0].size, 24);
  const auto overridden =
      open(views, DataUse::kTraining, {"data.views.1.size=14", "data.views.2.count=2"});
  ASSERT_EQ(overridden.info.views.size(), 4u);
  EXPECT_EQ(overridden.info.views[1].size, 14);
  EXPECT_EQ(overridden.info.views[3].size, 24);
}

TEST_F(Views, EachMistakeIsOneClearError) {
  write(2, 3, true);
  const auto expect_error = [&](const std::string& keys, const std::string& message) {
    const std::string found = error_of("[[data.views]]\nsize = 32\n" + keys + "\n");
    EXPECT_NE(found.find(message), std::string::npos) << keys << ": " << found;
    EXPECT_EQ(found.find("mistakes"), std::string::npos) << keys << ": " << found;
  };
  expect_error("count = 0", "data.views.0.count = 0 should be at least 1");
  expect_error("scale = [0.2, 1.5]", "a crop is no larger than the picture");
  expect_error("scale = [0.5, 0.2]", "data.views.0.scale");
  expect_error("ratio = [1.0]", "data.views.0.ratio");
  expect_error("interpolation = \"nearest\"", "data.views.0.interpolation 'nearest' is unknown");
  expect_error("flip = 1.5", "data.views.0.flip = 1.5: a probability is between 0 and 1");
  expect_error("flip = true", "data.views.0.flip = true should be a number");
  expect_error("jitter = [0.4, 0.4, 0.4]", "four strengths");
  expect_error("jitter = [0.4, 0.4, 0.4, 0.6]", "hue, which is at most 0.5");
  expect_error("jitter_p = -0.1", "data.views.0.jitter_p");
  expect_error("grey = 2.0", "data.views.0.grey");
  expect_error("blur = 7.0", "data.views.0.blur = 7");
  expect_error("blur_sigma = [0.0, 1.0]", "data.views.0.blur_sigma");
  expect_error("blur_kind = \"box\"", "data.views.0.blur_kind 'box' is unknown");
  expect_error("blur_kernel = 4", "should be odd");
  expect_error("blur = 1.0\nblur_kind = \"gaussian\"\nblur_kernel = 65", "mirrors 32 pixels");
  expect_error("solarise = -1.0", "data.views.0.solarise");
  expect_error("solarise_threshold = 300", "between 0 and 256");
  expect_error("sise = 3", "data.views.0.sise is not a key; did you mean");
}

TEST_F(Views, StandBesideNoSingleCrop) {
  write(2, 3, true);
  EXPECT_NE(error_of("crop = \"random_resized\"\n[[data.views]]\nsize = 32\n").find("give scale"),
            std::string::npos);
  EXPECT_NE(
      error_of("size = 32\ncrop = \"center\"\nviews = 3\n").find("should be a list of tables"),
      std::string::npos);
}

TEST_F(Views, PublishedListsAreRecipes) {
  write(2, 3, true);
  const std::map<std::string, std::vector<std::int64_t>> sizes = {
      {"simclr", {224, 224}},
      {"moco_v2", {224, 224}},
      {"moco_v3", {224, 224}},
      {"byol", {224, 224}},
      {"swav", {224, 224, 96, 96, 96, 96, 96, 96}},
      {"dino", {224, 224, 96, 96, 96, 96, 96, 96, 96, 96}}};
  const std::filesystem::path recipes = std::filesystem::path(__FILE__).parent_path() / "recipes";
  for (const auto& [name, expected] : sizes) {
    RecipeReader reader =
        RecipeReader::from_file(recipes / (name + ".toml"), {"data.path=" + path().string()});
    const Recipe engine = read_engine_sections(reader);
    const OpenedData data = open_data(reader, engine, "image", DataUse::kTraining);
    reader.finish();
    const Batch batch = DatasetReader(data.source, 1).read(0, 2);
    ASSERT_EQ(batch.tensors.size(), expected.size() + 1) << name;
    for (std::size_t v = 0; v < expected.size(); ++v) {
      EXPECT_EQ(batch.at("image." + std::to_string(v)).size(1), expected[v]) << name;
    }
  }
}

}  // namespace
}  // namespace kiln
