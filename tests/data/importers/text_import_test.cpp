#include "data/importers/text_import.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/importers/document_reader.h"
#include "data/store/dataset.h"
#include "data/store/files.h"
#include "data/text/line_reader.h"
#include "data/text/sentences.h"
#include "data/text/token_stream.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<std::string> sentences(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t length = sentence_length(text);
    out.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out;
}

TEST(Sentences, EndBehindQuotesButNotBehindTitles) {
  EXPECT_EQ(
      sentences("Mr. J. Dedalus said \"No.\" He left... or so. \u201cWhy?\u201d she asked! End"),
      (std::vector<std::string>{"Mr. J. Dedalus said \"No.\" ", "He left... or so. ",
                                "\u201cWhy?\u201d she asked! ", "End"}));
  EXPECT_EQ(sentences("\u4f60\u597d\u3002\u518d\u89c1\uff01").size(), 2u);
  EXPECT_EQ(sentences("3.14 is pi. 2 is not.").size(), 2u);
}

std::string read_parts(const fs::path& path, std::int64_t part_bytes, std::size_t max_bytes) {
  const std::int64_t size = static_cast<std::int64_t>(fs::file_size(path));
  std::string all;
  for (std::int64_t begin = 0; begin < size; begin += part_bytes) {
    LineReader reader(path, {begin, begin + part_bytes}, max_bytes);
    for (LineReader::Line line; reader.next(line);) {
      all += line.text;
      if (line.is_last_piece) all += '\n';
    }
  }
  return all;
}

TEST(LineReader, YieldsEveryLineOnceWhateverTheCuts) {
  const TemporaryFolder folder;
  const std::string text = "first\n\nthird line is longer than the others\r\nfourth\n";
  write(folder / "a", text);
  std::string expected = text;
  expected.erase(expected.find('\r'), 1);
  for (std::int64_t part = 1; part < 60; ++part) {
    for (const std::size_t max_bytes : {8u, 20u, 1000u}) {
      EXPECT_EQ(read_parts(folder / "a", part, max_bytes), expected) << part << " " << max_bytes;
    }
  }
}

class TextImportTest : public testing::Test {
 protected:
  TextImportTest() {
    write(folder_ / "vocab.txt",
          "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n.\n##a\n##b\n##c\n##d\n");
    options_.import.inputs = {folder_ / "in"};
    options_.vocabulary = folder_ / "vocab.txt";
    fs::create_directory(folder_ / "in");
  }
  Manifest import(const std::string& out, std::int64_t ranks = 1, std::int64_t threads = 1) {
    options_.import.out = folder_ / out;
    options_.import.num_ranks = ranks;
    options_.import.num_threads = threads;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      options_.import.rank = rank;
      import_text(options_);
    }
    return finish_text_import(options_).manifest;
  }
  /// All documents as words, sentences separated by '|'.
  std::vector<std::string> documents(const std::string& out) {
    const Dataset dataset(folder_ / out);
    const auto tokenizer = dataset_tokenizer(folder_ / out, dataset.manifest());
    std::vector<std::string> texts;
    for (std::int64_t number = 0; number < dataset.num_shards(); ++number) {
      const auto shard = dataset.shard(number);
      for (std::int64_t row = 0; row < shard->layout("tokens").num_rows; ++row) {
        const auto ids = row_of<std::uint16_t>(*shard, "tokens", row);
        std::string text;
        std::size_t begin = 1;
        for (const std::uint32_t end : row_of<std::uint32_t>(*shard, "sentences", row)) {
          const std::vector<std::int32_t> part(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                                               ids.begin() + end);
          text += tokenizer->decode(part) + "|";
          begin = end;
        }
        EXPECT_EQ(ids.front(), 2);
        EXPECT_EQ(ids.back(), 3);
        EXPECT_EQ(begin + 1, ids.size());
        texts.push_back(text);
      }
    }
    return texts;
  }
  template <typename T>
  static std::vector<T> row_of(const Shard& shard, const std::string& field, std::int64_t row) {
    std::vector<std::uint8_t> bytes;
    shard.read_row(field, row, bytes);
    const auto* values = reinterpret_cast<const T*>(bytes.data());
    return {values, values + bytes.size() / sizeof(T)};
  }
  std::string error_of_import() {
    try {
      import("out");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  TemporaryFolder folder_;
  TextImportOptions options_;
};

TEST_F(TextImportTest, KeepsDocumentsAndSentences) {
  write(folder_ / "in" / "1.txt", "ab ba. C\nd.\n\ncc");
  write(folder_ / "in" / "2.txt", "d");
  const Manifest manifest = import("out");
  EXPECT_EQ(documents("out"), (std::vector<std::string>{"ab ba .|c d .|cc|", "d|"}));
  EXPECT_EQ(manifest.kind, "text");
  EXPECT_EQ(manifest.num_samples, 2);
  EXPECT_EQ(manifest.attributes.at("tokens"), "15");
  EXPECT_EQ(manifest.attributes.at("sentences"), "4");
}

TEST_F(TextImportTest, SplitsDocumentsAtBlankLinesOrEveryLine) {
  write(folder_ / "in" / "1.txt", "a\nb\n\n\nc\n");
  options_.documents = "blank_line";
  import("by_blank");
  EXPECT_EQ(documents("by_blank"), (std::vector<std::string>{"a b|", "c|"}));
  options_.documents = "line";
  import("by_line");
  EXPECT_EQ(documents("by_line"), (std::vector<std::string>{"a|", "b|", "c|"}));
  options_.documents = "blank_line";
  options_.sentences = "line";
  import("sentence_lines");
  EXPECT_EQ(documents("sentence_lines"), (std::vector<std::string>{"a|b|", "c|"}));
}

TEST_F(TextImportTest, GivesTheSameBytesOnAnyNumberOfRanksAndThreads) {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    text += std::string(static_cast<std::size_t>(i % 7 + 1), static_cast<char>('a' + i % 4));
    text += i % 5 == 0 ? "\n\n" : i % 3 == 0 ? "\n" : " ";
  }
  write(folder_ / "in" / "1.txt", text);
  options_.documents = "blank_line";
  options_.unit_bytes = 100;
  const Manifest alone = import("alone");
  EXPECT_GT(alone.shards.size(), 5u);
  EXPECT_EQ(import("ranks", 3, 2).fingerprint(), alone.fingerprint());
  options_.unit_bytes = 1 << 20;
  import("whole");
  EXPECT_EQ(documents("alone"), documents("whole"));  // cuts split no document
}

/// Documents of a file that is read in parts of `unit` bytes, and how many of them go on another.
struct InParts {
  std::vector<std::string> documents;
  std::int64_t cuts = 0;
};
InParts read_in_parts(const fs::path& path, DocumentBoundary boundary, std::int64_t unit,
                      std::int64_t whole, const Tokenizer& tokenizer) {
  const fs::path out = path.string() + ".h5";
  fs::remove(out);
  const Fields fields = text_fields(tokenizer.vocabulary().size());
  ShardWriter shard(out, fields);
  DocumentWriter writer(tokenizer, false, shard);
  const auto size = static_cast<std::int64_t>(fs::file_size(path));
  for (std::int64_t begin = 0; begin < size; begin += unit) {
    read_text({path, {begin, std::min(size, begin + unit)}}, boundary, whole, writer);
  }
  shard.finish();
  InParts read = {{}, writer.counts().document_cuts};
  const Shard file(out, fields);
  for (std::int64_t row = 0; row < file.layout("tokens").num_rows; ++row) {
    std::vector<std::uint16_t> ids(static_cast<std::size_t>(file.row_range("tokens", row).size()));
    file.read_values("tokens", file.row_range("tokens", row), ids.data());
    read.documents.push_back(
        tokenizer.decode(std::vector<std::int32_t>(ids.begin() + 1, ids.end() - 1)));
  }
  return read;
}

TEST_F(TextImportTest, CutsLongDocumentsAndNoOthersAndLosesNothing) {
  std::string text;
  for (int document = 0; document < 40; ++document) {
    // Short ones, some of hundreds of bytes, and some of them in one line.
    const int words = document % 13 == 5 ? 150 : document % 7 + 1;
    for (int i = 0; i < words; ++i) {
      text += static_cast<char>('a' + (document + i / 3) % 4);
      text += static_cast<char>('a' + i % 4);
      text += document % 2 == 0 && i % 4 == 3 ? "\n" : " ";
    }
    text += document % 3 == 0 ? "\n \n\n" : "\n\n";
  }
  const fs::path path = folder_ / "text";
  write(path, text);
  const Tokenizer tokenizer(Vocabulary::load(options_.vocabulary), {});
  const auto joined = [](const std::vector<std::string>& documents) {
    std::string all;
    for (const std::string& document : documents) all += document + " ";
    return all;
  };
  for (const auto boundary : {DocumentBoundary::kBlankLine, DocumentBoundary::kLine}) {
    const InParts whole = read_in_parts(path, boundary, std::ssize(text), 1 << 20, tokenizer);
    EXPECT_EQ(whole.cuts, 0);
    for (const std::int64_t unit : {31, 64, 257}) {
      for (const std::int64_t reach : {24, 100, 300, 5000}) {
        const InParts cut = read_in_parts(path, boundary, unit, reach, tokenizer);
        const std::string where = fmt::format("unit {}, whole {}", unit, reach);
        EXPECT_EQ(joined(cut.documents), joined(whole.documents)) << where;
        EXPECT_GE(cut.cuts, std::ssize(cut.documents) - std::ssize(whole.documents)) << where;
        // The long ones have 450 bytes.
        if (reach + unit < 450) EXPECT_GT(cut.cuts, 0) << where;
        if (reach > 460) EXPECT_EQ(cut.cuts, 0) << where;
        for (const std::string& document : whole.documents) {
          if (std::ssize(document) + 8 > reach) continue;
          EXPECT_GE(std::ranges::count(cut.documents, document),
                    std::ranges::count(whole.documents, document))
              << where;
        }
        for (const std::string& document : cut.documents) {
          EXPECT_LE(std::ssize(document), reach + 2 * unit + 8) << where;
        }
      }
    }
  }
}

TEST_F(TextImportTest, CountsTheCutsOfLongDocuments) {
  std::string line;
  while (line.size() < 1050) line += "ab cd ";
  write(folder_ / "in" / "1.txt", line);
  options_.documents = "blank_line";
  options_.unit_bytes = 100;
  options_.whole_bytes = 50;
  const Manifest manifest = import("out", 2);
  EXPECT_EQ(manifest.num_samples, 11);
  EXPECT_EQ(manifest.attributes.at("document_cuts"), "10");
  EXPECT_EQ(manifest.attributes.at("tokens"), std::to_string(2 * 11 + 4 * (line.size() / 6)));
}

TEST_F(TextImportTest, ResumesWithTheShardsThatAreThere) {
  for (int i = 0; i < 4; ++i) write(folder_ / "in" / std::to_string(i), "a b c d a b c d");
  options_.unit_bytes = 20;
  const std::string complete = import("complete").fingerprint();
  options_.import.out = folder_ / "cut";
  options_.import.num_ranks = 2;  // only one of two ranks got to the end
  options_.import.rank = 1;
  import_text(options_);
  EXPECT_THROW(finish_text_import(options_), Error);
  const auto kept = fs::last_write_time(folder_ / "cut" / "shard-00003.h5");
  EXPECT_EQ(import("cut").fingerprint(), complete);
  EXPECT_EQ(fs::last_write_time(folder_ / "cut" / "shard-00003.h5"), kept);
}

TEST_F(TextImportTest, RefusesToMixTwoPlans) {
  write(folder_ / "in" / "1.txt", "a b c d");
  options_.import.out = folder_ / "out";
  import_text(options_);
  write(folder_ / "in" / "2.txt", "d");
  EXPECT_NE(error_of_import().find("unfinished import of other inputs"), std::string::npos);
}

TEST_F(TextImportTest, CountsInvalidBytesAndEmptyFiles) {
  write(folder_ / "in" / "1.txt",
        "a\xFF"
        "a b\xE4\xB8 c");
  write(folder_ / "in" / "2.txt", "");
  write(folder_ / "in" / "3.txt", " \n\n");
  const Manifest manifest = import("out");
  EXPECT_EQ(documents("out"), (std::vector<std::string>{"aa b c|"}));
  EXPECT_EQ(manifest.attributes.at("invalid_sequences"), "2");
  EXPECT_EQ(manifest.attributes.at("empty_documents"), "1");
  EXPECT_EQ(manifest.provenance.at("empty_files"), "1");
}

TEST_F(TextImportTest, ReadsALineLongerThanItsBuffers) {
  std::string line;
  while (line.size() < 3'000'000) line += "ab cd ";
  write(folder_ / "in" / "1.txt", line);
  EXPECT_EQ(import("out").attributes.at("tokens"), std::to_string(2 + 4 * (line.size() / 6)));
}

TEST_F(TextImportTest, ReadsJsonLines) {
  options_.is_jsonl = true;
  write(folder_ / "in" / "1.jsonl",
        "{\"text\": \"a b. C\\nd\", \"id\": 1}\n\n{\"text\": \"\"}\n{\"text\": \"c\xFF\"}\n");
  const Manifest manifest = import("out");
  EXPECT_EQ(documents("out"), (std::vector<std::string>{"a b .|c|d|", "c|"}));
  EXPECT_EQ(manifest.attributes.at("invalid_sequences"), "1");
  EXPECT_EQ(manifest.attributes.at("empty_documents"), "1");
}

TEST_F(TextImportTest, NamesTheLineThatIsNoJson) {
  options_.is_jsonl = true;
  write(folder_ / "in" / "1.jsonl", "{\"text\": \"a\"}\n{\"txt\": 1}\n");
  EXPECT_NE(error_of_import().find("line at byte 14"), std::string::npos) << error_of_import();
}

TEST_F(TextImportTest, CompressedFilesHoldTheSameDocuments) {
  // gzip of the same text, by Python's gzip.
  const std::vector<std::uint8_t> packed = {0x1F, 0x8B, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
                                            0x02, 0x03, 0x4B, 0x54, 0x48, 0xE2, 0xE2, 0x4A,
                                            0x52, 0x48, 0x56, 0x48, 0xE1, 0x02, 0x00, 0x85,
                                            0xC9, 0xC2, 0x86, 0x0B, 0x00, 0x00, 0x00};
  write(folder_ / "in" / "1.txt", "a b\n\nb c d\n");
  options_.documents = "blank_line";
  import("plain");
  EXPECT_EQ(documents("plain"), (std::vector<std::string>{"a b|", "b c d|"}));
  std::filesystem::remove(folder_ / "in" / "1.txt");
  write(folder_ / "in" / "1.dat", std::string(packed.begin(), packed.end()));
  import("packed", 2, 2);
  EXPECT_EQ(documents("packed"), documents("plain"));
}

TEST_F(TextImportTest, RefusesDamagedBinaryMissingAndEmptyInput) {
  write(folder_ / "in" / "1.gz", "\x1F\x8B\x08");
  EXPECT_NE(error_of_import().find("compressed with gzip, but damaged"), std::string::npos);
  write(folder_ / "in" / "1.gz", "\xFF\xD8\xFF\xE0 picture");
  EXPECT_NE(error_of_import().find("is a JPEG picture"), std::string::npos);
  write(folder_ / "in" / "1.gz", "");
  EXPECT_NE(error_of_import().find("no text"), std::string::npos);
  options_.import.inputs = {folder_ / "nothing"};
  EXPECT_NE(error_of_import().find("does not exist"), std::string::npos);
}

TEST_F(TextImportTest, RefusesAnotherVocabularyInTheDataset) {
  write(folder_ / "in" / "1.txt", "a");
  const Manifest manifest = import("out");
  std::ofstream(folder_ / "out" / "vocab.txt", std::ios::app) << "zz\n";
  EXPECT_THROW(dataset_tokenizer(folder_ / "out", manifest), Error);
}

}  // namespace
}  // namespace kiln
