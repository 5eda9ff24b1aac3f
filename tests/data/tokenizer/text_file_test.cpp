#include "data/tokenizer/text_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/wordpiece_trainer.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

const std::string kText = "The cat sat on the mat.\nThe cat sat on the mat again.\n";

// kText as Python's gzip, bz2, lzma, zstandard and lz4 pack it.
const std::map<std::string, std::string> kPacked = {
    {"gzip",
     "1f8b08000000000002030bc94855484e2c512806e2fc3c8512203737b1448f2b04abb842627a6266"
     "9e1e1700ac71a9e436000000"},
    {"bzip2",
     "425a68393141592653597a1190e100000853800010400104002ae38c002000314c00005553ca7a80"
     "7a6a4b3a20b44538f2f1f26965dbd4d31926eda1f8bb9229c28483d08c8708"},
    {"xz",
     "fd377a585a000004e6d6b4460200210116000000742fe5a3e0003500245d002a1a08a202b1a4b814"
     "b912c94c4152e1641907d3fc43dd6929916244f7ef075d825d7b60003d56cbe5db7e203400014036"
     "b76f451f1fb6f37d010000000004595a"},
    {"zstd",
     "28b52ffd24363d010004025468652063617420736174206f6e20746865206d61742e0a2061676169"
     "6e2e0a0100ac32c7ed67e024"},
    {"lz4",
     "04224d186c4036000000000000005526000000ff095468652063617420736174206f6e2074686520"
     "6d61742e0a1800038020616761696e2e0a00000000c703b238"}};

class TextFileTest : public testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  std::string refusal_of(const std::string& bytes) const {
    return refusal([&] { open_text(write("t.txt", bytes)); });
  }
  template <typename Action>
  static std::string refusal(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    return "nothing was thrown";
  }
  TemporaryFolder folder_;
};

std::string content_of(const File& file) {
  std::string text(static_cast<std::size_t>(file.size_bytes()), '\0');
  file.read_at(text.data(), file.size_bytes(), 0);
  return text;
}

TEST_F(TextFileTest, PackedTextsAreUnpackedWhateverTheirName) {
  for (const auto& [packing, hex] : kPacked) {
    SCOPED_TRACE(packing);
    EXPECT_EQ(content_of(open_text(write("a.txt", bytes_of(hex)))), kText);
    // Two packed files one after the other are one text, as gzip, xz and zstd have it.
    EXPECT_EQ(content_of(open_text(write("b.txt", bytes_of(hex + hex)))), kText + kText);
  }
  EXPECT_EQ(content_of(open_text(write("plain.gz", kText))), kText);
}

TEST_F(TextFileTest, PackedTextsCutShortAreRefused) {
  for (const auto& [packing, hex] : kPacked) {
    SCOPED_TRACE(packing);
    const std::string bytes = bytes_of(hex);
    for (const std::size_t lost : {bytes.size() / 2, std::size_t{9}}) {
      const std::string message = refusal_of(bytes.substr(0, bytes.size() - lost));
      EXPECT_NE(message.find("compressed with " + packing + ", but damaged"), std::string::npos)
          << message;
    }
  }
}

TEST_F(TextFileTest, WhatIsNoUtf8TextIsRefusedByName) {
  const std::string zeros(8, '\0');
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\xFF\xFE"s + "c\0a\0t\0"s, "is UTF-16"},
      {"\xFE\xFF"s + "\0c\0a\0t"s, "is UTF-16"},
      {"\xFF\xFE\0\0c\0\0\0"s, "is UTF-32"},
      {"c\0a\0t\0s\0 \0a\0r\0e\0"s, "looks like UTF-16"},
      {"\xFF\xD8\xFF\xE0"s + zeros, "is a JPEG picture"},
      {"%PDF-1.7 text", "is a PDF file"},
      {"PK\x03\x04" + zeros, "is a zip archive"},
      {"\x89HDF\r\n\x1A\n" + zeros, "is an HDF5 file"},
      {"cat" + zeros, "holds zero bytes"},
      {std::string(257, 'a') + "ustar", "is a tar archive"},
      {"caf\xE9 cr\xE8me br\xFBl\xE9"
       "e \xE0 la carte na\xEFve fa\xE7"
       "ade",
       "is not UTF-8"}};
  for (const auto& [bytes, part] : cases) {
    const std::string message = refusal_of(bytes);
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_NE(message.find("t.txt"), std::string::npos) << message;
  }
  EXPECT_EQ(refusal_of("\xEF\xBB\xBFplain text with a mark"), "nothing was thrown");
  EXPECT_EQ(refusal_of(""), "nothing was thrown");
  EXPECT_EQ(refusal_of("a few \xFF bad bytes are dropped and counted"), "nothing was thrown");
}

TEST_F(TextFileTest, ABinaryMiddleIsFound) {
  const std::string text(300'000, 'a');
  EXPECT_NE(refusal_of(text + std::string(100'000, '\0') + text).find("zero bytes"),
            std::string::npos);
}

TEST_F(TextFileTest, TrainerAndListTakeWhatIsPackedAndFolders) {
  fs::create_directory(folder_ / "in");
  write("in/a.gz", bytes_of(kPacked.at("gzip")));
  write("in/b.txt", "the dog");
  write("in/.hidden", "secret");
  std::vector<std::string> left_out;
  const auto files = list_text_files(
      {folder_ / "in"},
      [&](const std::string& reason, const std::string&) { left_out.push_back(reason); });
  EXPECT_EQ(left_out, std::vector<std::string>{"hidden"});
  WordPieceTrainerOptions options;
  const auto words = count_words(file_chunks(files), options);
  const std::map<std::string, std::int64_t> counts(words.begin(), words.end());
  EXPECT_EQ(counts.at("cat"), 2);
  EXPECT_EQ(counts.at("the"), 5);
  EXPECT_EQ(counts.at("dog"), 1);
  EXPECT_FALSE(counts.contains("secret"));
  fs::create_symlink("nowhere", folder_ / "in/c.txt");
  EXPECT_NE(refusal([&] { list_text_files({folder_ / "in"}); }).find("a link that leads nowhere"),
            std::string::npos);
}

TEST_F(TextFileTest, APipeIsRefusedWithoutWaiting) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_NE(refusal([&] { open_text(folder_ / "pipe"); }).find("a pipe or a device"),
            std::string::npos);
  EXPECT_NE(refusal([&] { open_text(folder_.path()); }).find("is a folder"), std::string::npos);
}

std::string vocabulary_with(const std::string& line) {
  return "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + line + "\ndog\n";
}

TEST_F(TextFileTest, VocabulariesThatReadersDisagreeOnAreRefused) {
  const auto load = [&](const std::string& bytes) {
    return refusal([&] { Vocabulary::load(write("vocab.txt", bytes)); });
  };
  for (const std::string& line :
       {"cat "s, "cat\t"s, " cat"s, "cat\u00A0"s, "cat\u3000"s, "ca\rt"s, "cat\r\r"s}) {
    EXPECT_NE(load(vocabulary_with(line)).find("vocab.txt, line 6: '" + line.substr(0, 2)),
              std::string::npos)
        << load(vocabulary_with(line));
  }
  EXPECT_NE(load(vocabulary_with("c\xE9t")).find("line 6"), std::string::npos);
  EXPECT_NE(load(vocabulary_with("dog")).find("stands on lines 6 and 7"), std::string::npos);
  EXPECT_NE(load("\xFF\xD8\xFF\xE0").find("JPEG"), std::string::npos);
  EXPECT_EQ(load(vocabulary_with("cat")), "nothing was thrown");
}

TEST_F(TextFileTest, LinesOfAVocabularyMayEndAsOnWindows) {
  std::string text = vocabulary_with("cat");
  for (std::size_t at = 0; (at = text.find('\n', at)) != text.npos; at += 2) text.insert(at, "\r");
  EXPECT_EQ(Vocabulary::load(write("vocab.txt", text)).find("cat"), 5);
}

}  // namespace
}  // namespace kiln
