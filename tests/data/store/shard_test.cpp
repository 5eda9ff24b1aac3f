#include "data/store/shard.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "core/base/error.h"
#include "data/store/dataset.h"
#include "data/store/files.h"
#include "data/store/shard_writer.h"
#include "tests/data/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

const Fields kFields = {{"pixels", {DType::kUInt8, {2, 2}, false, false, "raw"}},
                        {"tokens", {DType::kUInt16, {}, true, false, "raw"}}};

std::vector<std::uint8_t> bytes_of(const std::vector<std::uint16_t>& values) {
  const auto* begin = reinterpret_cast<const std::uint8_t*>(values.data());
  return {begin, begin + values.size() * 2};
}

ShardInfo write_small_shard(const std::filesystem::path& path) {
  ShardWriter writer(path, kFields);
  const std::vector<std::vector<std::uint16_t>> documents = {{1, 2, 3}, {}, {500, 600}};
  for (std::uint8_t row = 0; row < 3; ++row) {
    const std::vector<std::uint8_t> pixels(4, static_cast<std::uint8_t>(row + 10));
    writer.append("pixels", pixels);
    writer.append("tokens", bytes_of(documents[row]));
  }
  return writer.finish();
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Shard, ReadsBackFixedAndRaggedRows) {
  const TemporaryFolder folder;
  const ShardInfo info = write_small_shard(folder.path() / "s.h5");
  EXPECT_EQ(info.num_samples, 3);
  const Shard shard(folder.path() / "s.h5", kFields);
  std::vector<std::uint8_t> row;
  shard.read_row("pixels", 2, row);
  EXPECT_EQ(row, std::vector<std::uint8_t>(4, 12));
  shard.read_row("tokens", 0, row);
  EXPECT_EQ(row, bytes_of({1, 2, 3}));
  shard.read_row("tokens", 1, row);
  EXPECT_TRUE(row.empty());
  EXPECT_EQ(shard.row_range("tokens", 2), (Range{3, 5}));
  std::vector<std::uint16_t> stream(3);
  shard.read_values("tokens", {2, 5}, stream.data());
  EXPECT_EQ(stream, (std::vector<std::uint16_t>{3, 500, 600}));
}

TEST(Shard, ArraysAreContiguousAlignedAndReadWithoutTheLibrary) {
  const TemporaryFolder folder;
  write_small_shard(folder.path() / "s.h5");
  const Shard shard(folder.path() / "s.h5", kFields);
  for (const char* field : {"pixels", "tokens"}) {
    EXPECT_TRUE(shard.layout(field).is_direct);
    EXPECT_EQ(shard.layout(field).begin_byte % 4096, 0);
  }
  // The bytes lie in the file where the layout says: a plain read finds them.
  const auto file = read_file(folder.path() / "s.h5");
  const auto at = static_cast<std::size_t>(shard.layout("pixels").begin_byte);
  EXPECT_EQ(file.at(at + 4), 11);
}

TEST(Shard, EqualContentsGiveEqualBytes) {
  const TemporaryFolder folder;
  write_small_shard(folder.path() / "a.h5");
  write_small_shard(folder.path() / "b.h5");
  EXPECT_EQ(read_file(folder.path() / "a.h5"), read_file(folder.path() / "b.h5"));
}

TEST(Shard, AnEmptyRaggedFieldIsReadable) {
  const TemporaryFolder folder;
  const Fields fields = {{"tokens", kFields.at("tokens")}};
  ShardWriter writer(folder.path() / "s.h5", fields);
  writer.append("tokens", {});
  writer.finish();
  std::vector<std::uint8_t> row = {1};
  Shard(folder.path() / "s.h5", fields).read_row("tokens", 0, row);
  EXPECT_TRUE(row.empty());
}

TEST(Shard, TruncatedFileNamesShardAndField) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "s.h5";
  write_small_shard(path);
  const Shard intact(path, kFields);
  std::filesystem::resize_file(path,
                               static_cast<std::uintmax_t>(intact.layout("tokens").begin_byte) + 2);
  const std::string message = message_of([&] {
    std::vector<std::uint8_t> row;
    intact.read_row("tokens", 0, row);
  });
  EXPECT_NE(message.find("s.h5', field 'tokens'"), std::string::npos) << message;
  EXPECT_NE(message.find("truncated"), std::string::npos) << message;
  EXPECT_NE(message_of([&] { Shard(path, kFields); }).find("s.h5"), std::string::npos);
}

TEST(Shard, DamagedOffsetsAreAnError) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "s.h5";
  write_small_shard(path);
  // Offsets 0, 3, 3, 5 as uint64 are unique in this file; the second is made to lie beyond the
  // data.
  auto bytes = read_file(path);
  const std::vector<std::uint64_t> offsets = {0, 3, 3, 5};
  const auto* pattern = reinterpret_cast<const std::uint8_t*>(offsets.data());
  const auto found = std::search(bytes.begin(), bytes.end(), pattern, pattern + 32);
  ASSERT_NE(found, bytes.end());
  found[8] = 200;
  File::open_write(path).write_at(bytes.data(), std::ssize(bytes), 0);
  const std::string message = message_of([&] {
    std::vector<std::uint8_t> row;
    Shard(path, kFields).read_row("tokens", 0, row);
  });
  EXPECT_NE(message.find("field 'tokens': row 0 is said to span values 0 to 200 of 5"),
            std::string::npos)
      << message;
}

TEST(Shard, AnotherTypeThanStatedIsAnError) {
  const TemporaryFolder folder;
  write_small_shard(folder.path() / "s.h5");
  Fields fields = kFields;
  fields["tokens"].dtype = DType::kUInt32;
  EXPECT_NE(message_of([&] {
              Shard(folder.path() / "s.h5", fields);
            }).find("field 'tokens': it holds uint16"),
            std::string::npos);
}

TEST(Dataset, CutsShardsAndFindsSamples) {
  const TemporaryFolder folder;
  const Manifest manifest = write_numbered_images(folder.path() / "d", 10, 4);
  EXPECT_EQ(manifest.shards.size(), 3u);
  EXPECT_EQ(manifest.num_samples, 10);
  const Dataset dataset(folder.path() / "d");
  EXPECT_EQ(dataset.locate(3).shard, 0);
  EXPECT_EQ(dataset.locate(4).shard, 1);
  EXPECT_EQ(dataset.locate(9).row, 1);
  EXPECT_NE(dataset.describe(9).find("shard-00002.h5', row 1"), std::string::npos);
  EXPECT_EQ(dataset.shard_samples(), 4);
}

TEST(Dataset, IsNotThereUntilFinished) {
  const TemporaryFolder folder;
  Manifest manifest;
  manifest.kind = "text";
  manifest.fields = {{"tokens", kFields.at("tokens")}};
  DatasetWriter writer(folder.path() / "d", manifest);
  writer.append("tokens", bytes_of({1}));
  writer.end_sample();
  EXPECT_NE(message_of([&] { Dataset(folder.path() / "d"); }).find("no dataset in"),
            std::string::npos);
  writer.finish();
  EXPECT_EQ(Dataset(folder.path() / "d").num_samples(), 1);
}

TEST(Dataset, RefusesToOverwrite) {
  const TemporaryFolder folder;
  write_numbered_images(folder.path() / "d", 2, 4);
  EXPECT_NE(message_of([&] {
              write_numbered_images(folder.path() / "d", 2, 4);
            }).find("holds a dataset already"),
            std::string::npos);
}

TEST(Dataset, NamesATruncatedOrMissingShard) {
  const TemporaryFolder folder;
  write_numbered_images(folder.path() / "d", 10, 4);
  std::filesystem::resize_file(folder.path() / "d/shard-00001.h5", 5000);
  EXPECT_NE(
      message_of([&] { Dataset(folder.path() / "d"); }).find("shard-00001.h5' has 5000 bytes"),
      std::string::npos);
  std::filesystem::remove(folder.path() / "d/shard-00001.h5");
  EXPECT_NE(message_of([&] { Dataset(folder.path() / "d"); }).find("shard-00001.h5' is missing"),
            std::string::npos);
}

TEST(Dataset, DamagedManifestIsOneClearError) {
  const TemporaryFolder folder;
  write_numbered_images(folder.path() / "d", 2, 4);
  std::ofstream(folder.path() / "d/dataset.json") << "{\"format\": 1";
  EXPECT_NE(message_of([&] { Dataset(folder.path() / "d"); }).find("dataset.json' is damaged"),
            std::string::npos);
}

TEST(Dataset, FingerprintFollowsTheContents) {
  const TemporaryFolder folder;
  const auto a = write_numbered_images(folder.path() / "a", 10, 4);
  const auto b = write_numbered_images(folder.path() / "b", 10, 4);
  const auto c = write_numbered_images(folder.path() / "c", 11, 4);
  EXPECT_EQ(a.fingerprint(), b.fingerprint());
  EXPECT_NE(a.fingerprint(), c.fingerprint());
}

}  // namespace
}  // namespace kiln
