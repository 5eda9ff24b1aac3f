#include "core/checkpoint/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void write_raw(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A file with the given header text and data bytes; `claimed` overrides the header length.
std::string raw_file(const std::string& header, const std::string& data,
                     std::optional<std::uint64_t> claimed = {}) {
  const std::uint64_t length = claimed.value_or(header.size());
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

/// What opening the file says, or "" if it opens.
std::string complaint(const std::string& bytes) {
  const TemporaryFolder folder;
  write_raw(folder / "x.safetensors", bytes);
  try {
    const SafetensorsFile file(folder / "x.safetensors");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCheckpoint);
    EXPECT_THAT(error.what(), HasSubstr("x.safetensors"));
    return error.what();
  }
}

TEST(Safetensors, RoundTripsEveryTypeAndShape) {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong,
                          at::kHalf, at::kBFloat16, at::kFloat, at::kDouble})
    tensors.emplace_back(safetensors_dtype(type), at::arange(-3, 3).to(type).view({2, 1, 3}));
  tensors.emplace_back("scalar", at::scalar_tensor(2.5));
  tensors.emplace_back("empty", at::empty({0, 7}));
  tensors.emplace_back("transposed", at::arange(6).view({2, 3}).t());
  const FileHash hash = write_safetensors(folder / "a", tensors, {{"key", "value \"quoted\" ü"}});

  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor got = file.read(name);
    EXPECT_EQ(got.scalar_type(), tensor.scalar_type());
    EXPECT_EQ(got.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::equal(got, tensor)) << name;
  }
  EXPECT_EQ(file.metadata().at("key"), "value \"quoted\" ü");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(hash, hash_file(folder / "a"));
}

TEST(Safetensors, AlignsEveryTensorToItsType) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"bytes", at::ones({3}, at::kByte)},
                                   {"floats", at::ones({2}, at::kFloat)},
                                   {"doubles", at::ones({1}, at::kDouble)}});
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.entries().at("doubles").begin, 0u);
  EXPECT_EQ(file.entries().at("floats").begin, 8u);
  EXPECT_EQ(file.entries().at("bytes").begin, 16u);
}

TEST(Safetensors, ReadsARangeOfElements) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {{"x", at::arange(12, at::kFloat).view({3, 4})}});
  const SafetensorsFile file(folder / "a");
  EXPECT_TRUE(at::equal(file.read("x", {5, 9}), at::arange(5, 9, at::kFloat)));
  EXPECT_EQ(file.read("x", {4, 4}).numel(), 0);
}

TEST(Safetensors, NamesAMissingTensorAndAMissingFile) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", {});
  EXPECT_THAT([&] { SafetensorsFile(folder / "a").read("x"); },
              testing::ThrowsMessage<Error>(HasSubstr("no tensor 'x'")));
  EXPECT_THAT([&] { SafetensorsFile(folder / "b"); },
              testing::ThrowsMessage<Error>(HasSubstr("No such file")));
  EXPECT_THROW(SafetensorsFile{folder.path()}, Error);
}

TEST(Safetensors, RefusesBooleansOtherThanZeroAndOne) {
  const TemporaryFolder folder;
  write_raw(folder / "a",
            raw_file(R"({"x":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", "\x01\x02"));
  EXPECT_THROW(SafetensorsFile(folder / "a").read("x"), Error);
}

TEST(Safetensors, AcceptsAFileWithoutTensors) { EXPECT_EQ(complaint(raw_file("{}", "")), ""); }

TEST(Safetensors, RefusesMalformedFiles) {
  const std::string x4 = R"("x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const auto with = [](const std::string& fields) {
    return raw_file("{\"x\":{" + fields + "}}", "1234");
  };
  const std::pair<std::string, std::string> cases[] = {
      {"", "it has 0 bytes"},
      {"1234567", "it has 7 bytes"},
      {raw_file("{}", "", 3), "claims a header of 3"},
      {raw_file("{}", "", 1), "not a JSON object"},
      {raw_file("{}", "", ~std::uint64_t{0}), "claims a header"},
      {raw_file("{}", "", ~std::uint64_t{0} - 7), "claims a header"},
      {raw_file("{}", "", 100'000'001), "claims a header"},
      {raw_file("", ""), "not a JSON object"},
      {raw_file("[]", ""), "not a JSON object"},
      {raw_file("{\"x\":", ""), "not a JSON object"},
      {raw_file("{\"\xff\":1}", ""), "not a JSON object"},
      {raw_file(std::string(100'000, '['), ""), "not a JSON object"},
      {raw_file("{}", "12"), "its tensors end at byte 0, its data at 2"},
      {raw_file("{" + x4 + "}", "123"), "at bytes 0 to 4 of 3"},
      {raw_file("{" + x4 + "}", "12345"), "end at byte 4, its data at 5"},
      {raw_file(R"({"x":1})", ""), "lacks dtype"},
      {raw_file(R"({"__metadata__":1})", ""), "not an object"},
      {raw_file(R"({"__metadata__":{"a":1}})", ""), "not a string"},
      {with(R"("dtype":"F32","shape":[1])"), "lacks dtype"},
      {with(R"("dtype":"F99","shape":[1],"data_offsets":[0,4])"), "unknown type 'F99'"},
      {with(R"("dtype":32,"shape":[1],"data_offsets":[0,4])"), "lacks dtype"},
      {with(R"("dtype":"F64","shape":[1],"data_offsets":[0,4])"), "1 elements of 8 bytes, but 4"},
      {with(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), "2 elements of 4 bytes, but 4"},
      {with(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), "size or offset -1"},
      {with(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), "size or offset 1.0"},
      {with(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])"), "size or offset \"1\""},
      {with(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"), "lacks dtype"},
      {with(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])"),
       "size or offset"},
      {with(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4])"), "too large"},
      {with(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), "at bytes 4 to 0"},
      {with(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"), "lacks dtype"},
      {with(R"("dtype":"F32","shape":[0],"data_offsets":[4,4])"), "begins at byte 4"},
      {raw_file("{" + x4 + R"(,"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", "123456"),
       "'y' begins at byte 2, the one before it ends at 4"},
      {raw_file("{" + x4 + R"(,"y":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234"),
       "begins at byte 0, the one before it ends at 4"},
      {raw_file("{" + x4 + R"(,"y":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})",
                "123456789"),
       "'y' begins at byte 5, the one before it ends at 4"},
  };
  for (const auto& [bytes, expected] : cases) EXPECT_THAT(complaint(bytes), HasSubstr(expected));
}

TEST(Safetensors, RandomDamageNeverCrashes) {
  const TemporaryFolder folder;
  const fs::path path = folder / "x";
  write_safetensors(path, {{"a", at::arange(6, at::kFloat).view({2, 3})},
                           {"b", at::ones({3}, at::kBool)},
                           {"c", at::ones({0, 2}, at::kLong)}});
  const std::string whole = read_text_file(path);
  std::mt19937_64 random(7);
  int num_refused = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string damaged = whole;
    if (round % 4 == 0) damaged.resize(random() % damaged.size());
    for (std::size_t count = 1 + random() % 3; count > 0 && !damaged.empty(); --count)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    write_raw(path, damaged);
    try {
      const SafetensorsFile file(path);
      for (const auto& [name, entry] : file.entries())
        EXPECT_EQ(file.read(name).numel(), entry.numel);
    } catch (const Error&) {
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 400);
}

TEST(Safetensors, RoundTripsFilesOfOthers) {
  const char* shared = std::getenv("KILN_SHARED");
  const fs::path golden = fs::path(shared ? shared : KILN_SOURCE_DIR "/../shared") / "golden";
  if (!fs::is_directory(golden)) GTEST_SKIP() << "no golden files at " << golden;
  const TemporaryFolder folder;
  int num_files = 0;
  for (const auto& found : fs::directory_iterator(golden)) {
    if (found.path().extension() != ".safetensors") continue;
    ++num_files;
    const SafetensorsFile original(found.path());
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& [name, entry] : original.entries())
      tensors.emplace_back(name, original.read(name));
    write_safetensors(folder / "copy", tensors, original.metadata());
    const SafetensorsFile copy(folder / "copy");
    ASSERT_EQ(copy.entries().size(), original.entries().size());
    for (const auto& [name, tensor] : tensors) {
      EXPECT_EQ(copy.entries().at(name).dtype, original.entries().at(name).dtype);
      EXPECT_TRUE(at::equal(copy.read(name), tensor)) << found.path() << ' ' << name;
    }
  }
  EXPECT_GT(num_files, 0);
}

}  // namespace
}  // namespace kiln
