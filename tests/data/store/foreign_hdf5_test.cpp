#include <gtest/gtest.h>
#include <hdf5.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "core/base/error.h"
#include "data/images/image_source.h"
#include "data/loader.h"
#include "data/store/dataset.h"
#include "tests/support/temporary_folder.h"

// HDF5 files that others made, read in place. Pixel i of sample n is (12 n + i) mod 251.

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr hsize_t kSamples = 5;

template <typename T = std::uint8_t>
std::vector<T> pixels() {
  std::vector<T> values(kSamples * 12);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(i % 251);
  return values;
}

class ForeignHdf5Test : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_ / name; }

  template <typename T>
  void write(const std::string& file, const char* name, hid_t disk_type, hid_t memory_type,
             const std::vector<hsize_t>& dims, const std::vector<T>& values,
             hid_t create = H5P_DEFAULT) {
    const hid_t to = open(file);
    const hid_t space = H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
    const hid_t set = H5Dcreate2(to, name, disk_type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    ASSERT_GE(set, 0);
    if (!values.empty()) {
      ASSERT_GE(H5Dwrite(set, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    }
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(to);
  }
  void write_images(const std::string& file, const char* name, hid_t create = H5P_DEFAULT) {
    write(file, name, H5T_STD_U8LE, H5T_NATIVE_UINT8, {kSamples, 4, 3}, pixels(), create);
  }
  hid_t open(const std::string& file) const {
    const std::string name = path(file).string();
    return fs::exists(name) ? H5Fopen(name.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)
                            : H5Fcreate(name.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  }

  std::shared_ptr<const Dataset> dataset(const std::string& file, const FieldPaths& fields) const {
    return std::make_shared<const Dataset>(path(file), fields);
  }
  void expect_images(const std::string& file, const std::string& place, bool is_direct) const {
    const auto opened = dataset(file, {{"image", place}});
    EXPECT_EQ(opened->shard(0)->layout("image").is_direct, is_direct)
        << opened->shard(0)->layout("image").description;
    const Batch batch = DatasetReader(make_image_source(opened, {}, 0), 2).read(0, kSamples);
    const auto* found = batch.at("image").data_ptr<std::uint8_t>();
    EXPECT_EQ(std::vector<std::uint8_t>(found, found + kSamples * 12), pixels());
  }
  std::string message_of(const std::string& file, const FieldPaths& fields) const {
    try {
      dataset(file, fields);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      const std::string message = error.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      return message;
    }
    return "nothing was thrown";
  }
  void expect_refused(const std::string& file, const FieldPaths& fields, const std::string& part) {
    const std::string message = message_of(file, fields);
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find(file), std::string::npos) << message;
  }
  TemporaryFolder folder_;
};

TEST_F(ForeignHdf5Test, BehindAnExternalLinkTheOtherFileIsRead) {
  write_images("b.h5", "/x");
  write("a.h5", "/other", H5T_STD_U8LE, H5T_NATIVE_UINT8, {3000},
        std::vector<std::uint8_t>(3000, 9));
  const hid_t file = open("a.h5");
  H5Lcreate_external("b.h5", "/x", file, "/x", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external("b.h5", "/", file, "/group", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_external("missing.h5", "/x", file, "/gone", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/nowhere", file, "/dangling", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/x", file, "/soft", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);
  expect_images("a.h5", "/x", false);
  expect_images("a.h5", "/soft", false);
  expect_images("a.h5", "/group/x", false);
  expect_images("b.h5", "/x", true);
  expect_refused("a.h5", {{"image", "/gone"}}, "missing.h5");
  expect_refused("a.h5", {{"image", "/dangling"}}, "'/dangling' cannot be opened");
}

TEST_F(ForeignHdf5Test, EveryStorageGivesTheSamePixels) {
  write_images("plain.h5", "/x");
  expect_images("plain.h5", "/x", true);
  hid_t create = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t chunk[] = {2, 4, 3};
  H5Pset_chunk(create, 3, chunk);
  H5Pset_shuffle(create);
  H5Pset_deflate(create, 4);
  write_images("chunked.h5", "/x", create);
  H5Pclose(create);
  expect_images("chunked.h5", "/x", false);
  create = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_layout(create, H5D_COMPACT);
  write_images("compact.h5", "/x", create);
  H5Pclose(create);
  expect_images("compact.h5", "/x", false);
  create = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(create, path("raw.bin").c_str(), 100, kSamples * 12);
  write_images("external.h5", "/x", create);
  H5Pclose(create);
  expect_images("external.h5", "/x", false);
  fs::resize_file(path("raw.bin"), 120);
  expect_refused("external.h5", {{"image", "/x"}}, "ends at byte 120, before byte 160");
}

TEST_F(ForeignHdf5Test, AUserBlockMovesTheBytes) {
  const hid_t how = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_userblock(how, 1024);
  H5Fclose(H5Fcreate(path("u.h5").c_str(), H5F_ACC_TRUNC, how, H5P_DEFAULT));
  H5Pclose(how);
  write_images("u.h5", "/x");
  expect_images("u.h5", "/x", true);
}

TEST_F(ForeignHdf5Test, VirtualDataSetsAreReadWhileTheirSourcesAreThere) {
  write_images("source.h5", "/x");
  const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t dims[] = {kSamples, 4, 3};
  const hid_t space = H5Screate_simple(3, dims, nullptr);
  H5Pset_virtual(create, space, "source.h5", "/x", space);
  H5Sclose(space);
  write("v.h5", "/x", H5T_STD_U8LE, H5T_NATIVE_UINT8, {kSamples, 4, 3}, std::vector<std::uint8_t>{},
        create);
  H5Pclose(create);
  expect_images("v.h5", "/x", false);
  fs::remove(path("source.h5"));
  expect_refused("v.h5", {{"image", "/x"}}, "put together from 'source.h5', which does not exist");
}

TEST_F(ForeignHdf5Test, LabelsOfAnyIntegerTypeAreTheSameNumbers) {
  const std::vector<std::int64_t> labels = {3, 0, 120, 7, 1};
  write_images("l.h5", "/x");
  const std::map<std::string, hid_t> types = {
      {"/i8", H5T_STD_I8LE},    {"/i16", H5T_STD_I16LE},  {"/i16b", H5T_STD_I16BE},
      {"/i32b", H5T_STD_I32BE}, {"/i64", H5T_STD_I64LE},  {"/i64b", H5T_STD_I64BE},
      {"/u8", H5T_STD_U8LE},    {"/u16b", H5T_STD_U16BE}, {"/u64", H5T_STD_U64LE}};
  for (const auto& [name, type] : types) {
    write("l.h5", name.c_str(), type, H5T_NATIVE_INT64, {kSamples}, labels);
  }
  write("l.h5", "/column", H5T_STD_I64LE, H5T_NATIVE_INT64, {kSamples, 1}, labels);
  std::vector<std::string> names = {"/column"};
  for (const auto& [name, type] : types) names.push_back(name);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const auto opened = dataset("l.h5", {{"image", "/x"}, {"label", name}});
    const Batch batch = DatasetReader(make_image_source(opened, {}, 0), 1).read(0, kSamples);
    const auto* found = batch.at("label").data_ptr<std::int64_t>();
    EXPECT_EQ(std::vector<std::int64_t>(found, found + kSamples), labels);
  }
}

TEST_F(ForeignHdf5Test, WhatIsNoLabelIsRefusedAtOpening) {
  write_images("l.h5", "/x");
  write("l.h5", "/onehot", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, {kSamples, 10},
        std::vector<float>(kSamples * 10, 0.0f));
  write("l.h5", "/float", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, {kSamples},
        std::vector<float>(kSamples));
  write("l.h5", "/wide", H5T_STD_I64LE, H5T_NATIVE_INT64, {kSamples, 4},
        std::vector<std::int64_t>(kSamples * 4));
  write("l.h5", "/double", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, {kSamples},
        std::vector<double>(kSamples));
  write("l.h5", "/short", H5T_STD_I64LE, H5T_NATIVE_INT64, {kSamples - 1},
        std::vector<std::int64_t>(kSamples - 1));
  write("l.h5", "/none", H5T_STD_I64LE, H5T_NATIVE_INT64, {kSamples, 0},
        std::vector<std::int64_t>{});
  const auto refused = [&](const std::string& name, const std::string& part) {
    expect_refused("l.h5", {{"image", "/x"}, {"label", name}}, part);
  };
  refused("/onehot", "found float32 [10]");
  refused("/float", "found float32 []");
  refused("/wide", "found int64 [4]");
  refused("/double", "its values are float64");
  refused("/short", "rows, another");
  refused("/none", "its rows hold no values");
}

TEST_F(ForeignHdf5Test, ANegativeLabelIsRefusedWithItsRow) {
  write_images("l.h5", "/x");
  write("l.h5", "/y", H5T_STD_I32LE, H5T_NATIVE_INT64, {kSamples},
        std::vector<std::int64_t>{1, 0, -1, 2, 3});
  const auto source = make_image_source(dataset("l.h5", {{"image", "/x"}, {"label", "/y"}}), {}, 0);
  try {
    DatasetReader(source, 1).read(0, kSamples);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("row 2: its label is -1"), std::string::npos)
        << error.what();
  }
}

TEST_F(ForeignHdf5Test, RaggedFieldsNeedOffsetsOfOneForm) {
  const hid_t file = open("r.h5");
  for (const char* group : {"/good", "/wide", "/small"}) {
    H5Gclose(H5Gcreate2(file, group, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  }
  H5Fclose(file);
  for (const std::string group : {"/good", "/wide", "/small"}) {
    write("r.h5", (group + "/data").c_str(), H5T_STD_U8LE, H5T_NATIVE_UINT8, {60}, pixels());
  }
  const std::vector<std::uint64_t> ends = {0, 10, 60};
  write("r.h5", "/good/offsets", H5T_STD_U64LE, H5T_NATIVE_UINT64, {3}, ends);
  write("r.h5", "/wide/offsets", H5T_STD_U64LE, H5T_NATIVE_UINT64, {3, 100},
        std::vector<std::uint64_t>(300));
  write("r.h5", "/small/offsets", H5T_STD_U32LE, H5T_NATIVE_UINT64, {3}, ends);
  EXPECT_EQ(dataset("r.h5", {{"image", "/good"}})->num_samples(), 2);
  expect_refused("r.h5", {{"image", "/wide"}}, "its offsets are uint64 [100]");
  expect_refused("r.h5", {{"image", "/small"}}, "its offsets are uint32 []");
  expect_refused("r.h5", {{"image", "/good/nothing"}}, "there is no '/good/nothing'");
}

TEST_F(ForeignHdf5Test, WhatIsNoFileIsRefusedWithoutWaiting) {
  ASSERT_EQ(::mkfifo(path("pipe.h5").c_str(), 0600), 0);
  expect_refused("pipe.h5", {{"image", "/x"}}, "a pipe or a device");
  std::ofstream(path("text.h5")) << "no HDF5 at all";
  expect_refused("text.h5", {{"image", "/x"}}, "cannot open");
}

}  // namespace
}  // namespace kiln
