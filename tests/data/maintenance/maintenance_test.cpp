#include <gtest/gtest.h>
#include <hdf5.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "data/importers/import.h"
#include "data/loader.h"
#include "data/maintenance/doctor.h"
#include "data/maintenance/verify.h"
#include "data/store/dataset.h"
#include "data/store/files.h"
#include "tests/data/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

void flip_byte(const fs::path& path, std::int64_t at) {
  const File file = File::open_write(path);
  std::uint8_t byte = 0;
  file.read_at(&byte, 1, at);
  byte ^= 0x40;
  file.write_at(&byte, 1, at);
}

TEST(Verify, AnIntactDatasetHasNoFaults) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "d", 10, 4);
  const VerifyReport report = verify_dataset(folder / "d", 2);
  EXPECT_EQ(report.num_shards, 3);
  EXPECT_TRUE(report.faults.empty());
}

TEST(Verify, NamesShardAndFieldOfAFlippedByte) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "d", 10, 4);
  const Dataset dataset(folder / "d");
  flip_byte(folder / "d/shard-00001.h5", dataset.shard(1)->layout("label").begin_byte + 5);
  const VerifyReport report = verify_dataset(folder / "d", 2);
  ASSERT_EQ(report.faults.size(), 1u);
  EXPECT_EQ(report.faults[0].shard, "shard-00001.h5");
  EXPECT_EQ(report.faults[0].field, "label");
}

// Whatever byte of the file changes, it does not pass.
TEST(Verify, FindsEveryFlippedByte) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "d", 3, 4);
  const fs::path path = folder / "d/shard-00000.h5";
  const auto size = static_cast<std::int64_t>(fs::file_size(path));
  for (std::int64_t at = 0; at < size; at += 97) {
    flip_byte(path, at);
    EXPECT_FALSE(verify_dataset(folder / "d", 1).faults.empty()) << "byte " << at;
    flip_byte(path, at);
  }
  EXPECT_TRUE(verify_dataset(folder / "d", 1).faults.empty());
}

TEST(Verify, NamesTruncatedAndMissingShards) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "d", 10, 4);
  fs::resize_file(folder / "d/shard-00000.h5", 4096);
  fs::remove(folder / "d/shard-00002.h5");
  const VerifyReport report = verify_dataset(folder / "d", 1);
  ASSERT_GE(report.faults.size(), 2u);
  EXPECT_EQ(report.faults.front().shard, "shard-00000.h5");
  EXPECT_EQ(report.faults.back().shard, "shard-00002.h5");
}

// A file as others make them: big chunks, compressed.
void write_compressed(const fs::path& path, hsize_t first, hsize_t count) {
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const auto write = [&](const char* name, hid_t type, std::vector<hsize_t> dims,
                         const void* values) {
    const int num_dims = static_cast<int>(dims.size());
    const hid_t space = H5Screate_simple(num_dims, dims.data(), nullptr);
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    dims[0] = 5;
    H5Pset_chunk(create, num_dims, dims.data());
    H5Pset_deflate(create, 4);
    const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
    H5Pclose(create);
    H5Sclose(space);
  };
  std::vector<std::uint8_t> images;
  std::vector<std::int64_t> labels;
  for (hsize_t i = first; i < first + count; ++i) {
    images.insert(images.end(), 12, static_cast<std::uint8_t>(i));
    labels.push_back(static_cast<std::int64_t>(i) % 3);
  }
  write("pictures", H5T_STD_U8LE, {count, 4, 3}, images.data());
  write("classes", H5T_STD_I64LE, {count}, labels.data());
  H5Fclose(file);
}

class ForeignTest : public testing::Test {
 protected:
  ForeignTest() {
    fs::create_directories(folder_ / "in");
    write_compressed(folder_ / "in/a.h5", 0, 12);
    write_compressed(folder_ / "in/b.h5", 12, 9);
  }
  const FieldPaths mapping_ = {{"image", "/pictures"}, {"label", "/classes"}};
  TemporaryFolder folder_;
};

TEST_F(ForeignTest, IsReadInPlaceThroughAMapping) {
  const auto dataset = std::make_shared<const Dataset>(folder_ / "in", mapping_);
  EXPECT_EQ(dataset->num_samples(), 21);
  EXPECT_FALSE(dataset->shard(0)->layout("image").is_direct);
  const auto source = make_image_source(dataset, {}, 0);
  const Batch batch = DatasetReader(source, 3).read(0, 21);
  const auto* pixels = batch.at("image").data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < 21; ++i) {
    EXPECT_EQ(pixels[i * 12 + 7], i);
    EXPECT_EQ(batch.at("label").data_ptr<std::int64_t>()[i], i % 3);
  }
}

TEST_F(ForeignTest, DoctorOffersARepackThatMakesItDirect) {
  const DoctorReport before = examine_dataset(folder_ / "in", mapping_, 0.2);
  EXPECT_TRUE(before.needs_repack);
  EXPECT_NE(before.advice.back().find("--field image=/pictures --field label=/classes --out"),
            std::string::npos);
  EXPECT_NE(before.fields[0].layout.find("filter deflate"), std::string::npos);
  ImportOptions options;
  options.inputs = {folder_ / "in"};
  options.out = folder_ / "out";
  options.fields = {"image=/pictures", "label=/classes"};
  options.shard_bytes = 100;
  import_hdf5(options);
  const Manifest manifest = finish_import(options).manifest;
  EXPECT_EQ(manifest.num_samples, 21);
  EXPECT_NEAR(manifest.mean[0], 10.0 / 255.0, 1e-12);
  const DoctorReport after = examine_dataset(folder_ / "out", {}, 0.2);
  EXPECT_FALSE(after.needs_repack);
  EXPECT_GT(after.read_per_s, 0.0);
  EXPECT_GT(after.cold_read_per_s, 0.0);
  EXPECT_GT(after.decode_per_s, 0.0);
  EXPECT_EQ(threads_needed(after, after.decode_per_s * 2.5), 3);
  const Dataset dataset(folder_ / "out");
  std::vector<std::uint8_t> row;
  const auto place = dataset.locate(20);
  dataset.shard(place.shard)->read_row("image", place.row, row);
  EXPECT_EQ(row, std::vector<std::uint8_t>(12, 20));
}

TEST_F(ForeignTest, Hdf5ImportOnAnyNumberOfRanksIsTheSame) {
  std::vector<std::string> fingerprints;
  for (const std::int64_t num_ranks : {1, 3}) {
    ImportOptions options;
    options.inputs = {folder_ / "in/a.h5", folder_ / "in/b.h5"};
    options.out = folder_ / std::to_string(num_ranks);
    options.fields = {"image=/pictures"};
    options.shard_bytes = 48;
    options.num_ranks = num_ranks;
    for (options.rank = 0; options.rank < num_ranks; ++options.rank) import_hdf5(options);
    fingerprints.push_back(finish_import(options).manifest.fingerprint());
  }
  EXPECT_EQ(fingerprints[0], fingerprints[1]);
}

TEST_F(ForeignTest, WrongMappingsAreExplained) {
  ImportOptions options;
  options.inputs = {folder_ / "in/a.h5"};
  options.out = folder_ / "out";
  const auto message = [&] {
    try {
      import_hdf5(options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_NE(message().find("/classes [12], /pictures [12, 4, 3]"), std::string::npos) << message();
  options.fields = {"image=/nothing"};
  EXPECT_NE(message().find("field 'image': there is no '/nothing'"), std::string::npos)
      << message();
  options.fields = {"image"};
  EXPECT_NE(message().find("write image=/path/in/file"), std::string::npos) << message();
}

TEST(Repack, ChangesShardsButNoSample) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "d", 10, 4);
  ImportOptions options;
  options.inputs = {folder / "d"};
  options.out = folder / "out";
  options.shard_bytes = 7 * 16;
  import_hdf5(options);
  EXPECT_EQ(finish_import(options).manifest.shards.size(), 2u);
  const Batch before = DatasetReader(open_images(folder / "d"), 1).read(0, 10);
  const Batch after = DatasetReader(open_images(folder / "out"), 1).read(0, 10);
  EXPECT_EQ(0, std::memcmp(before.at("image").data_ptr(), after.at("image").data_ptr(), 120));
}

}  // namespace
}  // namespace kiln
