#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/importers/import.h"
#include "data/importers/tar.h"
#include "data/store/dataset.h"
#include "data/store/files.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

// A ustar entry; names over 100 characters get a GNU long-name entry before them.
std::string tar_entry(const std::string& name, const std::string& content, char type = '0') {
  std::string bytes;
  if (name.size() > 100) bytes = tar_entry("././@LongLink", name + '\0', 'L');
  std::string header(512, '\0');
  header.replace(0, std::min<std::size_t>(name.size(), 100), name.substr(0, 100));
  char size[13] = {};
  std::snprintf(size, sizeof(size), "%011o", static_cast<unsigned>(content.size()));
  header.replace(124, 12, size, 12);
  header[156] = type;
  header.replace(257, 6, "ustar\0", 6);
  header.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char checksum[8] = {};
  std::snprintf(checksum, sizeof(checksum), "%06o", sum);
  header.replace(148, 8, checksum, 8);
  bytes += header + content;
  bytes.resize((bytes.size() + 511) / 512 * 512);
  return bytes;
}

std::string picture(std::uint8_t shade) {
  Image image(16, 12, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), shade);
  const auto bytes = encode_jpeg(image, 90);
  return {bytes.begin(), bytes.end()};
}

std::string png_picture() {
  const auto bytes = encode_png(Image(16, 12, 3));
  return {bytes.begin(), bytes.end()};
}

class WebDatasetTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  /// With the zeros that end an archive.
  void write_archive(const std::string& name, const std::string& bytes) {
    write(name, bytes + std::string(1024, '\0'));
  }
  void write_file(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories((folder_ / "files" / name).parent_path());
    std::ofstream(folder_ / "files" / name, std::ios::binary) << bytes;
  }
  /// GNU tar, in the folder of write_file.
  void pack(const std::string& arguments) {
    const std::string command =
        "cd '" + (folder_ / "files").string() + "' && tar " + arguments + " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  FinishedImport run() {
    import_webdataset(options());
    return finish_import(options());
  }
  ImportOptions options() {
    ImportOptions options;
    options.inputs = {folder_.path()};
    options.out = folder_ / "out";
    return options;
  }
  std::string message_of() {
    try {
      import_webdataset(options());
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  TemporaryFolder folder_;
};

TEST_F(WebDatasetTest, ReadsPicturesAndClassesInOrder) {
  const std::string long_name = std::string(120, 'n') + "/b";
  write("0.tar", tar_entry("a.cls", "2") + tar_entry("a.jpg", picture(10)) +
                     tar_entry(long_name + ".jpg", picture(20)) +
                     tar_entry(long_name + ".cls", "0\n") + std::string(1024, '\0'));
  write_archive("1.tar", tar_entry("c.json", "{}") + tar_entry("c.jpeg", picture(30)) +
                             tar_entry("c.cls", "1"));
  import_webdataset(options());
  const Manifest manifest = finish_import(options()).manifest;
  EXPECT_EQ(manifest.num_samples, 3);
  EXPECT_EQ(manifest.class_names.size(), 3u);
  const Dataset dataset(folder_ / "out");
  std::vector<std::uint8_t> row;
  const std::uint8_t labels[] = {2, 0, 1};
  for (std::int64_t i = 0; i < 3; ++i) {
    dataset.shard(0)->read_row("label", i, row);
    EXPECT_EQ(row[0], labels[i]);
    dataset.shard(0)->read_row("image", i, row);
    EXPECT_NEAR(ImageDecoder(row).decode(1).pixels[0], 10.0 * static_cast<double>(i + 1), 2.0);
  }
}

TEST_F(WebDatasetTest, LongNamesAreWhole) {
  const std::string name = std::string(120, 'n') + ".txt";
  write_archive("0.tar", tar_entry(name, "x"));
  EXPECT_EQ(list_tar(folder_ / "0.tar").files.at(0).name, name);
}

TEST_F(WebDatasetTest, RefusesCutAndCompressedArchives) {
  const std::string whole = tar_entry("a.jpg", picture(10));
  write("0.tar", whole.substr(0, 700));
  EXPECT_NE(message_of().find("cut short within 'a.jpg'"), std::string::npos) << message_of();
  write("0.tar", whole);
  EXPECT_NE(message_of().find("cut short behind 'a.jpg'"), std::string::npos) << message_of();
  write("0.tar", whole + whole.substr(0, 100));
  EXPECT_NE(message_of().find("cut short behind 'a.jpg'"), std::string::npos) << message_of();
  write("0.tar", whole + std::string(1024, '\0') + whole + std::string(1024, '\0'));
  EXPECT_NE(message_of().find("goes on behind its end"), std::string::npos) << message_of();
  write("0.tar", std::string(2048, 'x'));
  EXPECT_NE(message_of().find("not an uncompressed tar"), std::string::npos) << message_of();
  write("0.tar", "\x1F\x8B" + std::string(600, 'z'));
  EXPECT_NE(message_of().find("not an uncompressed tar"), std::string::npos) << message_of();
}

TEST_F(WebDatasetTest, RefusesHalfLabelledSets) {
  write_archive("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("b.jpg", picture(10)) +
                             tar_entry("b.cls", "1"));
  EXPECT_NE(message_of().find("1 of 2 pictures have a .cls file"), std::string::npos);
  for (const std::string label :
       {"cat", "3x", "-1", "", "2000000000", "99999999999999999999", "1.0"}) {
    write_archive("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("a.cls", label));
    EXPECT_NE(message_of().find("a class is a number"), std::string::npos) << label;
  }
}

TEST_F(WebDatasetTest, WhatGnuTarPacksIsRead) {
  for (const std::string name : {"a", "b", "deep/c"}) {
    write_file(name + ".jpg", picture(40));
    write_file(name + ".cls", " 1\n");
  }
  for (const std::string format : {"v7", "ustar", "gnu", "oldgnu", "pax"}) {
    SCOPED_TRACE(format);
    pack("--sort=name --format=" + format + " -cf ../0.tar .");
    const TarContents contents = list_tar(folder_ / "0.tar");
    ASSERT_EQ(contents.files.size(), 6u);
    EXPECT_EQ(contents.files[1].name, "./a.jpg");
    const auto bytes = read_file(folder_ / "0.tar");
    const std::string found(bytes.begin() + contents.files[1].offset,
                            bytes.begin() + contents.files[1].offset + contents.files[1].bytes);
    EXPECT_EQ(found, picture(40));
  }
  EXPECT_EQ(run().manifest.num_samples, 3);
}

TEST_F(WebDatasetTest, HardLinksAreTheFilesTheyLinkTo) {
  write_file("a.jpg", picture(80));
  std::filesystem::create_hard_link(folder_ / "files/a.jpg", folder_ / "files/b.jpg");
  std::filesystem::create_symlink("a.jpg", folder_ / "files/c.jpg");
  pack("--sort=name -cf ../0.tar .");
  const FinishedImport done = run();
  EXPECT_EQ(done.manifest.num_samples, 2);
  EXPECT_EQ(done.left_out.reasons.at("a symbolic link").count, 1);
  EXPECT_EQ(done.left_out.reasons.at("in a folder below").count, 3);  // what was packed
  const Dataset dataset(folder_ / "out");
  std::vector<std::uint8_t> row;
  dataset.shard(0)->read_row("image", 1, row);
  EXPECT_EQ(std::string(row.begin(), row.end()), picture(80));
}

TEST_F(WebDatasetTest, SparseMembersAreRefusedByName) {
  write_file("a.jpg", picture(80));
  write_file("hole.bin", "x");
  std::filesystem::resize_file(folder_ / "files/hole.bin", 10 << 20);
  write_file("z.jpg", picture(80));
  for (const std::string format : {"gnu", "pax"}) {
    pack("--sort=name --sparse --format=" + format + " -cf ../0.tar .");
    EXPECT_NE(message_of().find("hole.bin': it is stored with holes"), std::string::npos)
        << message_of();
  }
}

TEST_F(WebDatasetTest, SamplesTornApartAreRefused) {
  write_archive("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("b.jpg", picture(10)) +
                             tar_entry("a.cls", "0") + tar_entry("b.cls", "1"));
  EXPECT_NE(message_of().find("other members of the sample 'a' lie apart"), std::string::npos)
      << message_of();
}

TEST_F(WebDatasetTest, EndingsInAnyCaseAndMembersThatAreNotUsed) {
  write_archive("0.tar", tar_entry("__info__", "about") + tar_entry("__index__/x.jpg", "about") +
                             tar_entry("a.JPG", picture(10)) + tar_entry("a.Cls", "3") +
                             tar_entry("a.seg.png", "unused") + tar_entry("a.json", "{}") +
                             tar_entry("alone.txt", "no picture") + tar_entry("README", "x") +
                             tar_entry(".hidden.jpg", "x") + tar_entry("b.PnG", png_picture()) +
                             tar_entry("b.cls", "0"));
  const FinishedImport done = run();
  EXPECT_EQ(done.manifest.num_samples, 2);
  EXPECT_EQ(done.class_counts, (std::vector<std::int64_t>{1, 0, 0, 1}));
  std::map<std::string, std::int64_t> counts;
  for (const auto& [reason, which] : done.left_out.reasons) counts[reason] = which.count;
  EXPECT_EQ(counts,
            (std::map<std::string, std::int64_t>{{"a name without a key or an ending", 3},
                                                 {"about the archive", 1},
                                                 {"beside a picture, not used (.json)", 1},
                                                 {"beside a picture, not used (.seg.png)", 1},
                                                 {"of a sample without a picture", 1}}));
}

TEST_F(WebDatasetTest, DoubledMembersAndTwoPicturesAreRefused) {
  write_archive("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("a.JPG", picture(10)));
  EXPECT_NE(message_of().find("has two members .jpg"), std::string::npos) << message_of();
  write_archive("0.tar", tar_entry("a.jpg", picture(10)) + tar_entry("a.png", picture(10)));
  EXPECT_NE(message_of().find("has two pictures, 'a.jpg' and 'a.png'"), std::string::npos)
      << message_of();
}

TEST_F(WebDatasetTest, NamesInUtf8AndSizesInBinaryAreRead) {
  std::string big = tar_entry("\u00E9.jpg", picture(10));
  write_archive("0.tar", big);
  EXPECT_EQ(list_tar(folder_ / "0.tar").files.at(0).name, "\u00E9.jpg");
  write_file("\u00E9\u4E2D.jpg", picture(10));
  pack("--sort=name --format=pax -cf ../1.tar .");
  EXPECT_EQ(list_tar(folder_ / "1.tar").files.at(0).name, "./\u00E9\u4E2D.jpg");
}

}  // namespace
}  // namespace kiln
