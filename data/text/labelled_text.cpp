#include "data/text/labelled_text.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/store/host_tensor.h"
#include "data/text/line_reader.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

std::string label_of(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer() || value.is_boolean()) return value.dump();
  throw data_error("a label is a string or a whole number");
}

void for_each_line(const fs::path& path,
                   const std::function<void(const nlohmann::json&, std::int64_t)>& use) {
  LineReader lines(path, {0, std::numeric_limits<std::int64_t>::max()});
  std::int64_t number = 0;
  std::string next;
  for (LineReader::Line piece; lines.next(piece);) {
    next += piece.text;
    if (!piece.is_last_piece) continue;
    std::string line = std::exchange(next, "");
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    repair_utf8(line);
    try {
      use(nlohmann::json::parse(line), number);
    } catch (const nlohmann::json::exception& error) {
      throw data_error("'{}', line {}: {}", path.string(), number, error.what());
    } catch (const Error& error) {
      throw data_error("'{}', line {}: {}", path.string(), number, error.what());
    }
  }
}

/// Texts as tokens, ready to be copied into batches.
class LabelledTextSource : public BatchSource {
 public:
  LabelledTextSource(fs::path path, std::int64_t length)
      : path_(std::move(path)), length_(length) {}

  void add(const ModelInput& input, std::int64_t label, std::int64_t line) {
    ids_.insert(ids_.end(), input.ids.begin(), input.ids.end());
    segments_.insert(segments_.end(), input.segments.begin(), input.segments.end());
    sizes_.push_back(std::count(input.mask.begin(), input.mask.end(), 1));
    labels_.push_back(label);
    lines_.push_back(line);
  }
  std::int64_t num_samples() const override { return std::ssize(labels_); }

  Batch allocate(std::int64_t num_samples) const override {
    Batch batch;
    batch.num_samples = num_samples;
    for (const char* name : {"tokens", "segment", "position", "document"}) {
      batch.tensors[name] = host_tensor(HostType::kInt64, {num_samples, length_});
    }
    batch.tensors["label"] = host_tensor(HostType::kInt64, {num_samples});
    return batch;
  }

  void read(std::span<const std::int64_t> ids, std::int64_t, Batch& batch,
            std::int64_t row_begin) const override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      write(ids[i], batch, row_begin + static_cast<std::int64_t>(i));
    }
  }

  std::string describe(std::int64_t id) const override {
    return fmt::format("{}, line {}", path_.string(), lines_[static_cast<std::size_t>(id)]);
  }

 private:
  void write(std::int64_t id, Batch& batch, std::int64_t row) const {
    const auto at = [&](const char* name) {
      return batch.at(name).data_ptr<std::int64_t>() + row * length_;
    };
    std::int64_t *token = at("tokens"), *segment = at("segment"), *position = at("position"),
                 *document = at("document");
    const auto from = static_cast<std::size_t>(id * length_);
    const std::int64_t size = sizes_[static_cast<std::size_t>(id)];
    for (std::int64_t i = 0; i < length_; ++i) {
      token[i] = ids_[from + static_cast<std::size_t>(i)];
      segment[i] = segments_[from + static_cast<std::size_t>(i)];
      position[i] = i < size ? i : 0;
      document[i] = i < size ? 0 : -1;
    }
    batch.at("label").data_ptr<std::int64_t>()[row] = labels_[static_cast<std::size_t>(id)];
  }

  fs::path path_;
  std::int64_t length_;
  std::vector<std::int32_t> ids_, segments_;          // [N, L]
  std::vector<std::int64_t> sizes_, labels_, lines_;  // [N]
};

std::int64_t number_of(const std::string& label, const std::vector<std::string>& classes) {
  const auto found = std::find(classes.begin(), classes.end(), label);
  if (found == classes.end()) {
    throw data_error("label '{}' is not among the {} classes of the training texts", label,
                     classes.size());
  }
  return found - classes.begin();
}

}  // namespace

std::vector<std::string> read_classes(const fs::path& path, const std::string& label_key) {
  std::set<std::string> labels;
  for_each_line(path, [&](const nlohmann::json& row, std::int64_t) {
    labels.insert(label_of(row.at(label_key)));
  });
  if (labels.size() < 2) {
    throw data_error("'{}': {} different labels; a classifier needs two or more", path.string(),
                     labels.size());
  }
  return {labels.begin(), labels.end()};
}

LabelledText open_labelled_text(const fs::path& path, const LabelledTextOptions& options) {
  if (options.sequence_length < 8) {
    throw usage_error("data.sequence_length = {}: at least 8", options.sequence_length);
  }
  if (options.vocabulary.empty()) throw usage_error("data.vocabulary is missing: which vocab.txt?");
  const Tokenizer tokenizer(Vocabulary::load(options.vocabulary),
                            {options.lowercase, options.strip_accents});
  TokenEncoder encoder(tokenizer);
  const std::vector<std::string> classes =
      options.classes.empty() ? read_classes(path, options.label_key) : options.classes;
  auto source = std::make_shared<LabelledTextSource>(path, options.sequence_length);
  for_each_line(path, [&](const nlohmann::json& row, std::int64_t line) {
    const auto first = encoder.encode(row.at(options.text_key).get<std::string>());
    std::vector<std::int32_t> second;
    if (row.contains(options.second_key)) {
      second = encoder.encode(row.at(options.second_key).get<std::string>());
    }
    source->add(make_input(tokenizer.vocabulary(), first, second, options.sequence_length),
                number_of(label_of(row.at(options.label_key)), classes), line);
  });
  if (source->num_samples() == 0) throw data_error("'{}' holds no labelled text", path.string());
  LabelledText opened;
  opened.info.kind = "labelled_text";
  opened.info.num_samples = source->num_samples();
  opened.info.fingerprint = hash_file(path, ExitCode::kData).xxh3;
  opened.info.class_names = classes;
  opened.info.vocab_size = tokenizer.vocabulary().size();
  opened.info.sequence_length = options.sequence_length;
  opened.info.identity["tokenizer"] = tokenizer.hash();
  opened.info.facts["mask_token"] = std::to_string(tokenizer.vocabulary().mask());
  opened.source = std::move(source);
  return opened;
}

}  // namespace kiln
