#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "core/base/error.h"
#include "data/maintenance/verify.h"
#include "data/store/dataset.h"
#include "data/tokenizer/vocabulary.h"
#include "tests/data/small_dataset.h"
#include "tests/support/temporary_folder.h"

// A limit on the size of files stands for a disk that fills up: writes beyond it fail.

namespace kiln {
namespace {

namespace fs = std::filesystem;

class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_ = {};
};

std::string write_under(rlim_t bytes, const fs::path& out) {
  const FileLimit limit(bytes);
  try {
    write_numbered_images(out, 400, 1000);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "";
}

std::int64_t count_files(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(WriteErrors, AShardIsWholeOrRefusedWhereverTheDiskEnds) {
  const TemporaryFolder folder;
  write_numbered_images(folder / "whole", 400, 1000);
  const auto whole = fs::file_size(folder / "whole/shard-00000.h5");
  int num_refused = 0;
  for (rlim_t limit = 0; limit < whole + 1024; limit += 509) {
    SCOPED_TRACE(limit);
    const fs::path out = folder / std::to_string(limit);
    const std::string message = write_under(limit, out);
    if (message.empty()) {
      EXPECT_GE(limit, whole);
      EXPECT_TRUE(verify_dataset(out, 1, {}).faults.empty());
      EXPECT_EQ(Dataset(out).num_samples(), 400);
    } else {
      ++num_refused;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      EXPECT_NE(message.find("File too large"), std::string::npos) << message;
      EXPECT_EQ(count_files(out), 0) << "half-made files are left";
    }
  }
  EXPECT_GT(num_refused, 10);
}

TEST(WriteErrors, AVocabularyIsWholeOrNotThere) {
  const TemporaryFolder folder;
  const Vocabulary vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"}, "test");
  {
    const FileLimit limit(10);
    EXPECT_THROW(vocabulary.save(folder / "vocab.txt"), Error);
  }
  EXPECT_EQ(count_files(folder.path()), 0);
  vocabulary.save(folder / "vocab.txt");
  EXPECT_EQ(Vocabulary::load(folder / "vocab.txt").size(), 6);
}

TEST(WriteErrors, AFolderThatIsGoneIsAnError) {
  const TemporaryFolder folder;
  ShardWriter writer(folder / "gone/shard-00000.h5",
                     {{"x", {DType::kUInt8, {}, false, false, "raw"}}});
  writer.append_value<std::uint8_t>("x", 1);
  EXPECT_THROW(writer.finish(), Error);
}

}  // namespace
}  // namespace kiln
