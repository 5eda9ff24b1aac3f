#include <gtest/gtest.h>
#include <hdf5.h>

#include <filesystem>

#include "core/base/error.h"
#include "data/images/image_source.h"
#include "data/importers/import.h"
#include "data/loader.h"
#include "data/store/class_map.h"
#include "data/store/image_layout.h"
#include "data/store/shard_writer.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

// The value of sample n at (y, x, c), whatever order it is stored in.
std::uint8_t value_at(hsize_t n, hsize_t y, hsize_t x, hsize_t c) {
  return static_cast<std::uint8_t>((n * 53 + y * 31 + x * 7 + c * 101) % 256);
}

class ImportHdf5Test : public testing::Test {
 protected:
  template <typename T>
  void write(const char* name, hid_t type, const std::vector<hsize_t>& dims,
             const std::vector<T>& values) {
    const std::string file = (folder_ / "in.h5").string();
    const hid_t to = fs::exists(file)
                         ? H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)
                         : H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
    const hid_t set = H5Dcreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(to);
  }
  // 6 pictures of 8 x 10 pixels with 3 channels.
  void write_pictures(bool is_channels_first) {
    std::vector<std::uint8_t> values;
    for (hsize_t n = 0; n < 6; ++n) {
      for (hsize_t i = 0; i < 240; ++i) {
        values.push_back(is_channels_first ? value_at(n, i / 10 % 8, i % 10, i / 80)
                                           : value_at(n, i / 30, i / 3 % 10, i % 3));
      }
    }
    const std::vector<hsize_t> dims =
        is_channels_first ? std::vector<hsize_t>{6, 3, 8, 10} : std::vector<hsize_t>{6, 8, 10, 3};
    write("/x", H5T_NATIVE_UINT8, dims, values);
  }
  ImportOptions options(std::vector<std::string> fields) const {
    ImportOptions options;
    options.inputs = {folder_ / "in.h5"};
    options.out = folder_ / "out";
    options.fields = std::move(fields);
    return options;
  }
  FinishedImport run(const ImportOptions& options) const {
    import_hdf5(options);
    return finish_import(options);
  }
  std::string message_of(const ImportOptions& options, ExitCode code = ExitCode::kData) const {
    try {
      import_hdf5(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return error.what();
    }
    return "nothing was thrown";
  }
  void expect_pictures() const {
    const auto dataset = std::make_shared<const Dataset>(folder_ / "out");
    const Batch batch = DatasetReader(make_image_source(dataset, {}, 0), 1).read(0, 6);
    const auto& image = batch.at("image");
    ASSERT_EQ(image.sizes().vec(), (std::vector<std::int64_t>{6, 8, 10, 3}));
    const auto* found = image.data_ptr<std::uint8_t>();
    for (hsize_t i = 0; i < 6 * 240; ++i) {
      ASSERT_EQ(found[i], value_at(i / 240, i / 30 % 8, i / 3 % 10, i % 3)) << i;
    }
  }
  TemporaryFolder folder_;
};

TEST_F(ImportHdf5Test, ChannelsFirstAreTurned) {
  write_pictures(true);
  const Manifest manifest = run(options({"image=/x"})).manifest;
  EXPECT_EQ(manifest.fields.at("image").shape, (std::vector<std::int64_t>{8, 10, 3}));
  EXPECT_EQ(manifest.mean.size(), 3u);
  expect_pictures();
}

TEST_F(ImportHdf5Test, ChannelsLastStayAsTheyAre) {
  write_pictures(false);
  run(options({"image=/x"}));
  expect_pictures();
}

TEST_F(ImportHdf5Test, TheUserMaySayOtherwise) {
  write_pictures(true);
  ImportOptions mine = options({"image=/x"});
  mine.layout = "hwc";
  EXPECT_EQ(run(mine).manifest.fields.at("image").shape, (std::vector<std::int64_t>{3, 8, 10}));
  mine.layout = "sideways";
  mine.out = folder_ / "other";
  EXPECT_NE(message_of(mine, ExitCode::kUsage).find("choose auto, hwc"), std::string::npos);
}

TEST_F(ImportHdf5Test, ChannelsFirstInPlaceAreRefusedWithTheImport) {
  write_pictures(true);
  const auto dataset =
      std::make_shared<const Dataset>(folder_ / "in.h5", FieldPaths{{"image", "/x"}});
  try {
    make_image_source(dataset, {}, 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("kiln data import hdf5"), std::string::npos)
        << error.what();
  }
}

TEST_F(ImportHdf5Test, FloatsAndFlatRowsAreRefusedAtImport) {
  write("/float", H5T_NATIVE_FLOAT, {2, 8, 8, 3}, std::vector<float>(384));
  write("/double", H5T_NATIVE_DOUBLE, {2, 8, 8}, std::vector<double>(128));
  write("/flat", H5T_NATIVE_UINT8, {2, 784}, std::vector<std::uint8_t>(1568));
  write("/deep", H5T_NATIVE_UINT8, {2, 2, 8, 8, 3}, std::vector<std::uint8_t>(768));
  EXPECT_NE(message_of(options({"image=/float"})).find("images are uint8"), std::string::npos);
  EXPECT_NE(message_of(options({"image=/double"})).find("its values are float64"),
            std::string::npos);
  EXPECT_NE(message_of(options({"image=/flat"})).find("give each row its height"),
            std::string::npos);
  EXPECT_NE(message_of(options({"image=/deep"})).find("found uint8 [2, 8, 8, 3]"),
            std::string::npos);
}

TEST_F(ImportHdf5Test, LabelsBecomeClassesWithCounts) {
  write_pictures(false);
  write("/y", H5T_NATIVE_INT64, {6}, std::vector<std::int64_t>{2, 0, 2, 2, 4, 0});
  const FinishedImport done = run(options({"image=/x", "label=/y"}));
  EXPECT_EQ(done.manifest.class_names, (std::vector<std::string>{"0", "1", "2", "3", "4"}));
  EXPECT_EQ(done.class_counts, (std::vector<std::int64_t>{2, 0, 3, 0, 1}));
}

TEST_F(ImportHdf5Test, LabelsOutOfRangeAreRefused) {
  write_pictures(false);
  write("/y", H5T_NATIVE_INT64, {6}, std::vector<std::int64_t>{2, 0, 2, 2'000'000'000, 4, 0});
  EXPECT_NE(message_of(options({"image=/x", "label=/y"})).find("row 3: its label is 2000000000"),
            std::string::npos);
}

TEST_F(ImportHdf5Test, UnknownAndDoubledFieldsAreRefusedByName) {
  write_pictures(false);
  EXPECT_NE(
      message_of(options({"image=/x", "lable=/y"}), ExitCode::kUsage).find("did you mean 'label'"),
      std::string::npos);
  EXPECT_NE(message_of(options({"image=/x", "image=/y"}), ExitCode::kUsage).find("named twice"),
            std::string::npos);
}

TEST_F(ImportHdf5Test, RaggedBytesThatAreNoPictureAreRefusedWithTheirRow) {
  const std::string file = (folder_ / "in.h5").string();
  const hid_t to = H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  H5Gclose(H5Gcreate2(to, "/x", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Fclose(to);
  Image image(20, 10, 1);
  auto bytes = encode_png(image);
  const std::uint64_t size = bytes.size();
  bytes.insert(bytes.end(), {'G', 'I', 'F', '8', '9', 'a'});
  write("/x/data", H5T_NATIVE_UINT8, {bytes.size()}, bytes);
  write("/x/offsets", H5T_NATIVE_UINT64, {3}, std::vector<std::uint64_t>{0, size, size + 6});
  const std::string message = message_of(options({"image=/x"}));
  EXPECT_NE(
      message.find("row 1: the image cannot be decoded: neither a JPEG nor a PNG file but a GIF"),
      std::string::npos)
      << message;
}

FieldInfo image_of(std::vector<std::int64_t> shape) {
  return {DType::kUInt8, std::move(shape), false, false, "raw"};
}

TEST(ImageLayout, IsTheOneThatTheShapeAllows) {
  const auto is_first = [](std::vector<std::int64_t> shape) {
    return image_form(image_of(std::move(shape)), ImageLayout::kAuto, "x").is_channels_first;
  };
  EXPECT_TRUE(is_first({3, 32, 32}));
  EXPECT_TRUE(is_first({1, 28, 28}));
  EXPECT_TRUE(is_first({13, 64, 64}));
  EXPECT_FALSE(is_first({32, 32, 3}));
  EXPECT_FALSE(is_first({28, 28, 1}));
  EXPECT_FALSE(is_first({4, 3, 1}));
  EXPECT_FALSE(is_first({64, 64, 13}));
  EXPECT_FALSE(is_first({28, 28}));
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{3, 32, 3}, {4, 4, 4}, {32, 32, 32}, {5, 9, 5}}) {
    EXPECT_THROW(image_form(image_of(shape), ImageLayout::kAuto, "x"), Error);
  }
}

Manifest labelled(const fs::path& folder, const std::vector<std::string>& names,
                  const std::vector<std::int32_t>& labels) {
  Manifest manifest;
  manifest.kind = "image";
  manifest.class_names = names;
  manifest.fields["label"] = {DType::kInt32, {}, false, false, "raw"};
  DatasetWriter writer(folder, manifest);
  for (const std::int32_t label : labels) {
    writer.append_value("label", label);
    writer.end_sample();
  }
  return writer.finish();
}

TEST(ClassMap, NumbersClassesByTheirNames) {
  const TemporaryFolder folder;
  labelled(folder / "test", {"blue", "red"}, {0, 1, 1});
  const Dataset test(folder / "test");
  const ClassMap map(test, {"blue", "green", "red"}, "the training data");
  EXPECT_EQ(map(0), 0);
  EXPECT_EQ(map(1), 2);
  EXPECT_TRUE(ClassMap(test, {"blue", "red"}, "x").is_identity());
  EXPECT_TRUE(ClassMap(test, {}, "x").is_identity());
  EXPECT_EQ(count_classes(test), (std::vector<std::int64_t>{1, 2}));
}

TEST(ClassMap, RefusesSamplesOfClassesThatAreNotKnown) {
  const TemporaryFolder folder;
  labelled(folder / "test", {"blue", "pink", "red"}, {0, 1, 2});
  labelled(folder / "empty", {"blue", "pink", "red"}, {0, 2});
  try {
    ClassMap(Dataset(folder / "test"), {"blue", "green", "red"}, "the training data");
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("the training data does not know: pink. It knows: blue, green, red"),
              std::string::npos)
        << message;
  }
  EXPECT_EQ(ClassMap(Dataset(folder / "empty"), {"blue", "green", "red"}, "x")(2), 2);
}

TEST(ClassMap, LabelsBeyondTheNamesAreRefused) {
  const TemporaryFolder folder;
  labelled(folder / "d", {"a", "b"}, {0, 1, 2});
  EXPECT_THROW(count_classes(Dataset(folder / "d")), Error);
}

}  // namespace
}  // namespace kiln
