#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "data/importers/import.h"
#include "data/store/dataset.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

std::string idx(std::uint8_t type, const std::vector<std::uint32_t>& dims, std::size_t num_values) {
  std::string bytes = {0, 0, static_cast<char>(type), static_cast<char>(dims.size())};
  for (const std::uint32_t dim : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(dim >> shift & 0xFF);
  }
  for (std::size_t i = 0; i < num_values; ++i) bytes += static_cast<char>(i % 10);
  return bytes;
}

class ImportIdxTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
    return folder_.path() / name;
  }
  ImportOptions options(std::vector<std::filesystem::path> inputs) {
    ImportOptions options;
    options.inputs = std::move(inputs);
    options.out = folder_.path() / "out";
    return options;
  }
  std::string message_of(const ImportOptions& options) {
    try {
      import_idx(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      EXPECT_FALSE(std::filesystem::exists(options.out / "dataset.json"));
      return error.what();
    }
    return "nothing was thrown";
  }
  TemporaryFolder folder_;
};

TEST_F(ImportIdxTest, MakesADataset) {
  const auto images = write("i", idx(8, {20, 3, 2}, 120));
  const auto labels = write("l", idx(8, {20}, 20));
  import_idx(options({labels, images}));
  const Manifest manifest = finish_import(options({})).manifest;
  EXPECT_EQ(manifest.num_samples, 20);
  EXPECT_EQ(manifest.fields.at("image").shape, (std::vector<std::int64_t>{3, 2, 1}));
  EXPECT_EQ(manifest.class_names.size(), 10u);
  ASSERT_EQ(manifest.mean.size(), 1u);
  EXPECT_DOUBLE_EQ(manifest.mean[0], 4.5 / 255.0);
  EXPECT_DOUBLE_EQ(manifest.std[0], std::sqrt(8.25) / 255.0);
  const Dataset dataset(folder_.path() / "out");
  std::vector<std::uint8_t> row;
  dataset.shard(0)->read_row("image", 1, row);
  EXPECT_EQ(row, (std::vector<std::uint8_t>{6, 7, 8, 9, 0, 1}));
}

TEST_F(ImportIdxTest, ReadsGzip) {
  const std::string bytes = idx(8, {20, 3, 2}, 120);
  const auto path = folder_.path() / "i.gz";
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  EXPECT_EQ(import_idx(options({path})).num_samples, 20);
  // Cut short, the gzip stream says so.
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 12);
  ImportOptions again = options({path});
  again.out = folder_.path() / "again";
  EXPECT_NE(message_of(again).find("damaged or cut short"), std::string::npos);
}

TEST_F(ImportIdxTest, AnyNumberOfRanksMakesTheSameDataset) {
  const auto images = write("i", idx(8, {23, 3, 2}, 138));
  const auto labels = write("l", idx(8, {23}, 23));
  std::vector<std::string> fingerprints;
  for (const std::int64_t num_ranks : {1, 2, 3}) {
    ImportOptions mine = options({images, labels});
    mine.out = folder_.path() / std::to_string(num_ranks);
    mine.shard_bytes = 50;
    mine.num_ranks = num_ranks;
    for (mine.rank = 0; mine.rank < num_ranks; ++mine.rank) import_idx(mine);
    const Manifest manifest = finish_import(mine).manifest;
    EXPECT_EQ(manifest.num_samples, 23);
    EXPECT_EQ(manifest.shards.size(), 5u);
    fingerprints.push_back(manifest.fingerprint());
  }
  EXPECT_EQ(fingerprints[0], fingerprints[1]);
  EXPECT_EQ(fingerprints[0], fingerprints[2]);
}

TEST_F(ImportIdxTest, RefusesAWrongNumberOfValues) {
  const auto images = write("i", idx(8, {20, 3, 2}, 119));
  EXPECT_NE(message_of(options({images})).find("announces 120 values but holds 119"),
            std::string::npos);
}

TEST_F(ImportIdxTest, RefusesLabelsOfAnotherSet) {
  const auto images = write("i", idx(8, {20, 3, 2}, 120));
  const auto labels = write("l", idx(8, {19}, 19));
  const std::string message = message_of(options({images, labels}));
  EXPECT_NE(message.find("20 images"), std::string::npos) << message;
  EXPECT_NE(message.find("19 labels"), std::string::npos) << message;
}

TEST_F(ImportIdxTest, RefusesWhatIsNotIdx) {
  EXPECT_NE(message_of(options({write("i", "PK\x03\x04")})).find("not an idx file"),
            std::string::npos);
  EXPECT_NE(message_of(options({write("i", idx(0x0D, {2}, 8))})).find("only unsigned bytes"),
            std::string::npos);
}

TEST(ImportIdx, RealFashionMnist) {
  const std::filesystem::path real =
      std::filesystem::path(KILN_SOURCE_DIR) / "../shared/data/fashion-mnist";
  if (!std::filesystem::exists(real)) GTEST_SKIP() << "no " << real;
  const TemporaryFolder folder;
  ImportOptions options;
  options.inputs = {real};
  options.out = folder.path() / "out";
  EXPECT_EQ(import_idx(options, "test").num_samples, 10'000);
  const Manifest manifest = finish_import(options).manifest;
  EXPECT_EQ(manifest.class_names.size(), 10u);
  EXPECT_NEAR(manifest.mean[0], 0.2868, 1e-4);  // of the test split
}

}  // namespace
}  // namespace kiln
