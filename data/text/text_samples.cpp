#include "data/text/text_samples.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/store/dataset.h"
#include "data/store/files.h"
#include "data/text/line_reader.h"
#include "data/text/token_stream.h"
#include "data/tokenizer/text_file.h"
#include "data/tokenizer/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxLine = std::int64_t{64} << 20;

class Documents : public TextSamples {
 public:
  Documents(const fs::path& path, const Tokenizer& tokenizer)
      : dataset_(std::make_shared<const Dataset>(path)), stream_(dataset_) {
    const std::string& found = stream_.tokenizer().hash();
    if (found == tokenizer.hash()) return;
    throw data_error(
        "'{}' was made with tokenizer {}, the model was trained with {}: its ids mean other words. "
        "Import the text with the vocab.txt of the model, or give the text itself",
        path.string(), found, tokenizer.hash());
  }
  std::int64_t size() const override { return dataset_->num_samples(); }
  std::vector<std::int32_t> ids(std::int64_t number, std::int64_t most,
                                TokenEncoder&) const override {
    const Dataset::Place place = dataset_->locate(number);
    const auto documents = stream_.documents(place.shard);
    const auto row = static_cast<std::size_t>(place.row);
    // Without the document's own [CLS] and [SEP].
    const auto begin = static_cast<std::int64_t>(documents[row]) + 1;
    const auto end = static_cast<std::int64_t>(documents[row + 1]) - 1;
    std::vector<std::int64_t> tokens(static_cast<std::size_t>(std::min(end - begin, most)));
    stream_.read(place.shard, {begin, begin + std::ssize(tokens)}, tokens.data());
    return {tokens.begin(), tokens.end()};
  }
  std::string fingerprint() const override { return dataset_->manifest().fingerprint(); }

 private:
  std::shared_ptr<const Dataset> dataset_;
  TokenStream stream_;
};

class Lines : public TextSamples {
 public:
  Lines(fs::path path, std::string text_key)
      : path_(std::move(path)),
        text_key_(std::move(text_key)),
        is_json_(path_.extension() == ".jsonl"),
        file_(open_text(path_)) {
    find_lines();
    if (size() == 0) throw data_error("'{}' has no text: it is empty", path_.string());
    // All lines are checked before any work is done.
    for (std::int64_t i = 0; is_json_ && i < size(); ++i) text(i);
  }
  std::int64_t size() const override { return std::ssize(begins_) - 1; }
  std::vector<std::int32_t> ids(std::int64_t number, std::int64_t,
                                TokenEncoder& encoder) const override {
    return encoder.encode(text(number));
  }
  std::string fingerprint() const override { return hash_file(path_, ExitCode::kData).xxh3; }

 private:
  void find_lines() {
    LineReader lines(file_, {0, file_.size_bytes()});
    bool is_start = true;
    for (LineReader::Line line; lines.next(line);) {
      if (is_start) begins_.push_back(line.begin);
      is_start = line.is_last_piece;
      if (line.begin - begins_.back() <= kMaxLine) continue;
      throw data_error(
          "'{}', line {} has no end within {} MiB; this does not look like a text a line",
          path_.string(), begins_.size(), kMaxLine >> 20);
    }
    begins_.push_back(file_.size_bytes());
  }

  std::string text(std::int64_t number) const {
    const std::int64_t begin = begins_[static_cast<std::size_t>(number)];
    std::string line(
        static_cast<std::size_t>(begins_[static_cast<std::size_t>(number) + 1] - begin), '\0');
    file_.read_at(line.data(), std::ssize(line), begin);
    while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
    if (!is_json_) return line;
    repair_utf8(line);
    try {
      return nlohmann::json::parse(line).at(text_key_).get<std::string>();
    } catch (const nlohmann::json::exception& error) {
      throw data_error("'{}', line {} is not a JSON object with a string '{}': {}", path_.string(),
                       number + 1, text_key_, error.what());
    }
  }

  fs::path path_;
  std::string text_key_;
  bool is_json_;
  File file_;
  std::vector<std::int64_t> begins_;  // of every line, and the end of the file
};

}  // namespace

std::unique_ptr<TextSamples> open_text_samples(const fs::path& path, const std::string& text_key,
                                               const Tokenizer& tokenizer) {
  if (!fs::exists(path)) {
    throw data_error("'{}' does not exist: neither a text dataset nor a file of lines",
                     path.string());
  }
  if (fs::is_directory(path)) return std::make_unique<Documents>(path, tokenizer);
  return std::make_unique<Lines>(path, text_key);
}

}  // namespace kiln
