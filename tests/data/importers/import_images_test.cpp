#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/image_source.h"
#include "data/importers/import.h"
#include "data/loader.h"
#include "data/store/files.h"
#include "tests/data/pictures.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::vector<std::uint8_t>& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
}

Image shaded(std::int64_t width, std::int64_t height, std::int64_t channels, std::int64_t seed) {
  Image image(width, height, channels);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] =
        static_cast<std::uint8_t>((static_cast<std::int64_t>(i) * 7 + seed * 40) % 256);
  }
  return image;
}

class ImportImagesTest : public testing::Test {
 protected:
  // 12 images of two classes, JPEG and PNG, colour and grey.
  ImportImagesTest() {
    for (std::int64_t i = 0; i < 12; ++i) {
      const std::string name = (i % 2 == 0 ? "cat/" : "dog/deeper/") + std::to_string(i);
      const Image image = shaded(40 + i, 30, i % 4 == 1 ? 1 : 3, i);
      if (i % 3 == 0) {
        write(in() / (name + ".png"), encode_png(image));
      } else {
        write(in() / (name + ".JPEG"), encode_jpeg(image, 90));
      }
    }
    write(in() / "cat/notes.txt", {'x'});
  }
  fs::path in() const { return folder_.path() / "in"; }
  ImportOptions options(const std::string& out) const {
    ImportOptions options;
    options.inputs = {in()};
    options.out = folder_.path() / out;
    options.num_threads = 2;
    return options;
  }
  FinishedImport run(ImportOptions options) const {
    for (options.rank = 0; options.rank < options.num_ranks; ++options.rank) import_images(options);
    return finish_import(options);
  }
  TemporaryFolder folder_;
};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(ImportImagesTest, ClassesAreFoldersAndFilesAreKeptAsTheyAre) {
  const Manifest manifest = run(options("out")).manifest;
  EXPECT_EQ(manifest.num_samples, 12);
  EXPECT_EQ(manifest.class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(manifest.attributes.at("channels"), "3");
  EXPECT_EQ(manifest.mean.size(), 3u);
  const Dataset dataset(folder_.path() / "out");
  std::vector<std::string> found;
  std::int64_t num_dogs = 0;
  for (std::int64_t row = 0; row < 12; ++row) {
    std::vector<std::uint8_t> bytes;
    dataset.shard(0)->read_row("label", row, bytes);
    num_dogs += bytes[0];
    dataset.shard(0)->read_row("image", row, bytes);
    found.emplace_back(bytes.begin(), bytes.end());
  }
  EXPECT_EQ(num_dogs, 6);
  const auto original = read_file(in() / "cat/2.JPEG");
  EXPECT_EQ(std::count(found.begin(), found.end(), std::string(original.begin(), original.end())),
            1);
}

TEST_F(ImportImagesTest, AnyNumberOfRanksAndThreadsMakesTheSameDataset) {
  std::vector<std::string> fingerprints;
  for (const std::int64_t num_ranks : {1, 2, 3}) {
    ImportOptions mine = options(std::to_string(num_ranks));
    mine.num_ranks = num_ranks;
    mine.num_threads = num_ranks;
    mine.shard_bytes = 3000;
    const Manifest manifest = run(mine).manifest;
    EXPECT_GT(manifest.shards.size(), 2u);
    fingerprints.push_back(manifest.fingerprint());
  }
  EXPECT_EQ(fingerprints[0], fingerprints[1]);
  EXPECT_EQ(fingerprints[0], fingerprints[2]);
}

TEST_F(ImportImagesTest, BrokenAndSmallFilesAreListedAndSkippedOnlyIfAsked) {
  auto broken = encode_jpeg(shaded(64, 64, 3, 1), 90);
  broken.resize(broken.size() / 2);
  write(in() / "dog/half.jpg", broken);
  write(in() / "cat/small.png", encode_png(shaded(5, 60, 3, 1)));
  const std::string message = message_of([&] { run(options("out")); });
  EXPECT_NE(message.find("2 of the inputs"), std::string::npos) << message;
  EXPECT_NE(message.find("half.jpg: Premature end of JPEG"), std::string::npos) << message;
  EXPECT_NE(message.find("small.png: too small: 5 x 60 pixels"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(folder_.path() / "out/dataset.json"));

  ImportOptions skipping = options("out");
  skipping.skip_broken = true;
  const FinishedImport done = run(skipping);
  EXPECT_EQ(done.manifest.num_samples, 12);
  EXPECT_EQ(done.skipped.size(), 2u);
}

TEST_F(ImportImagesTest, ScalesDownToAMaximumSide) {
  ImportOptions mine = options("out");
  mine.max_side = 20;
  run(mine);
  const Dataset dataset(folder_.path() / "out");
  for (std::int64_t row = 0; row < 12; ++row) {
    std::vector<std::uint8_t> bytes;
    dataset.shard(0)->read_row("image", row, bytes);
    EXPECT_EQ(ImageDecoder(bytes).width(), 20);
    EXPECT_LE(ImageDecoder(bytes).height(), 15);
  }
}

TEST_F(ImportImagesTest, AFlatFolderHasNoLabels) {
  ImportOptions mine = options("out");
  mine.inputs = {in() / "cat"};
  const Manifest manifest = run(mine).manifest;
  EXPECT_EQ(manifest.num_samples, 6);
  EXPECT_TRUE(manifest.class_names.empty());
  EXPECT_FALSE(manifest.fields.contains("label"));
}

TEST_F(ImportImagesTest, RefusesStrayFilesAndEmptyFolders) {
  write(in() / "stray.png", encode_png(shaded(20, 20, 3, 1)));
  EXPECT_NE(message_of([&] { run(options("out")); }).find("stray.png' lies beside the folders"),
            std::string::npos);
  ImportOptions empty = options("out");
  fs::create_directories(folder_.path() / "nothing");
  empty.inputs = {folder_.path() / "nothing"};
  EXPECT_NE(message_of([&] { run(empty); }).find("no *.jpg"), std::string::npos);
}

std::map<std::int64_t, std::string> ledger(const std::shared_ptr<const BatchSource>& source,
                                           std::int64_t num_ranks, std::int64_t num_threads) {
  std::map<std::int64_t, std::string> pixels;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    LoaderOptions options;
    options.global_batch = 8;
    options.micro_batch = 2;
    options.rank = rank;
    options.num_ranks = num_ranks;
    options.num_threads = num_threads;
    ThreadedLoader loader(source, SampleOrder({12, 12, 1, true, 5}), options, nullptr);
    loader.start(0);
    for (int step = 0; step < 3; ++step) {
      for (const Batch& batch : loader.next()) {
        const auto* data =
            reinterpret_cast<const char*>(batch.at("image").data_ptr<std::uint8_t>());
        const std::size_t bytes = 16 * 16 * 3;
        for (std::int64_t b = 0; b < 2; ++b) {
          pixels[batch.first_position + b] = std::string(data + b * std::int64_t{bytes}, bytes);
        }
      }
    }
  }
  return pixels;
}

TEST_F(ImportImagesTest, CropsAreTheSameOnAnyNumberOfRanksAndThreads) {
  run(options("out"));
  ImageOptions images;
  images.size = 16;
  images.crop = "random_resized";
  images.flip = true;
  const auto source =
      make_image_source(std::make_shared<const Dataset>(folder_.path() / "out"), images, 7);
  const auto one = ledger(source, 1, 1);
  EXPECT_EQ(one.size(), 24u);
  for (const std::int64_t num_ranks : {2, 3, 4}) EXPECT_EQ(one, ledger(source, num_ranks, 3));
  // The same sample is cropped otherwise at another position, and with another seed.
  const auto other_seed =
      make_image_source(std::make_shared<const Dataset>(folder_.path() / "out"), images, 8);
  EXPECT_NE(one, ledger(other_seed, 1, 1));
}

TEST_F(ImportImagesTest, EvaluationHasNoChance) {
  run(options("out"));
  ImageOptions images;
  images.size = 16;
  images.crop = "random_resized";
  images.flip = true;
  const auto dataset = std::make_shared<const Dataset>(folder_.path() / "out");
  const auto a = make_image_source(dataset, evaluation_options(images), 1);
  const auto b = make_image_source(dataset, evaluation_options(images), 2);
  EXPECT_TRUE(at::equal(DatasetReader(a, 2).read(0, 12).at("image"),
                        DatasetReader(b, 1).read(0, 12).at("image")));
}

TEST_F(ImportImagesTest, SizesThatDoNotFitTheRecipeAreExplained) {
  run(options("out"));
  const Dataset dataset(folder_.path() / "out");
  ImageOptions images;
  EXPECT_NE(message_of([&] { describe_images(dataset, images); }).find("give data.size"),
            std::string::npos);
  images.size = 16;
  EXPECT_NE(message_of([&] { describe_images(dataset, images); }).find("set data.crop"),
            std::string::npos);
}

TEST(ImportImages, RealPhotographs) {
  const fs::path real = fs::path(KILN_SOURCE_DIR) / "../shared/data/imagenet-sample/images";
  if (!fs::exists(real)) GTEST_SKIP() << "no " << real;
  const TemporaryFolder folder;
  ImportOptions options;
  options.inputs = {real};
  options.out = folder.path() / "out";
  options.num_threads = 2;
  options.max_side = 64;
  import_images(options);
  const Manifest manifest = finish_import(options).manifest;
  EXPECT_EQ(manifest.num_samples, 500);
  EXPECT_NEAR(manifest.mean[0], 0.48, 0.03);
  EXPECT_NEAR(manifest.mean[2], 0.40, 0.04);
}

}  // namespace
}  // namespace kiln
