#include "data/importers/text_import.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/importers/document_reader.h"
#include "data/importers/document_writer.h"
#include "data/importers/text_units.h"
#include "data/store/files.h"
#include "data/store/manifest_json.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVocabularyFile = "vocab.txt";

fs::path description_of(const fs::path& out, std::int64_t unit) {
  return (out / shard_file_name(unit)).replace_extension(".json");
}

/// Equal for equal inputs and options: what a restart must agree on.
std::string plan_hash(const TextPlan& plan, const TextImportOptions& options,
                      const Tokenizer& tokenizer) {
  std::string text =
      fmt::format("{} {} {} {} {} {} {}\n", tokenizer.hash(), options.is_jsonl, options.text_key,
                  options.documents, options.sentences, options.unit_bytes, options.whole_bytes);
  for (const TextUnit& unit : plan.units) {
    for (const FilePart& part : unit) {
      std::error_code code;
      const auto written = fs::last_write_time(part.path, code);
      if (code) throw data_error("cannot stat '{}': {}", part.path.string(), code.message());
      text += fmt::format("{} {} {} {}\n", part.path.string(), part.bytes.begin, part.bytes.end,
                          written.time_since_epoch().count());
    }
    text += '\n';
  }
  Xxh3Stream hash;
  hash.update(text.data(), text.size());
  return hash.digest().hex();
}

nlohmann::ordered_json counts_to_json(const TextCounts& counts) {
  return {{"documents", counts.documents},
          {"tokens", counts.tokens},
          {"sentences", counts.sentences},
          {"unknown_tokens", counts.unknown_tokens},
          {"invalid_sequences", counts.invalid_sequences},
          {"empty_documents", counts.empty_documents},
          {"longest_document", counts.longest_document},
          {"document_cuts", counts.document_cuts}};
}

TextCounts counts_from_json(const nlohmann::ordered_json& json) {
  return {json.at("documents"),         json.at("tokens"),
          json.at("sentences"),         json.at("unknown_tokens"),
          json.at("invalid_sequences"), json.at("empty_documents"),
          json.at("longest_document"),  json.at("document_cuts")};
}

/// Description of a shard that an earlier attempt finished; null if it has to be made.
nlohmann::ordered_json finished_unit(const fs::path& out, std::int64_t unit,
                                     const std::string& plan) {
  const fs::path path = description_of(out, unit);
  if (!fs::exists(path)) return nullptr;
  const auto bytes = read_file(path);
  const auto json = nlohmann::ordered_json::parse(bytes, nullptr, false);
  if (json.is_discarded()) return nullptr;
  if (json.value("plan", "") != plan) {
    throw data_error(
        "'{}' holds an unfinished import of other inputs or options: remove the folder "
        "or choose another",
        out.string());
  }
  const fs::path shard = out / shard_file_name(unit);
  std::error_code code;
  const auto size = fs::file_size(shard, code);
  const bool is_whole =
      !code && static_cast<std::int64_t>(size) == shard_from_json(json.at("shard")).file_bytes;
  return is_whole ? json : nullptr;
}

class TextImport {
 public:
  explicit TextImport(const TextImportOptions& options)
      : options_(options),
        plan_(plan_text_units(options.import.inputs, options.unit_bytes)),
        tokenizer_(Vocabulary::load(options.vocabulary), options.normalizer),
        boundary_(boundary_from_name(options.documents)),
        plan_hash_(plan_hash(plan_, options, tokenizer_)) {
    if (options.sentences != "auto" && options.sentences != "line") {
      throw usage_error("sentences = '{}': choose auto or line", options.sentences);
    }
  }

  ImportResult run() {
    prepare_dataset_folder(options_.import.out);
    const Range mine =
        share_of(std::ssize(plan_.units), options_.import.rank, options_.import.num_ranks);
    next_ = mine.begin;
    total_ = mine.size();
    {
      std::vector<std::jthread> threads;
      const std::int64_t num_threads = std::clamp<std::int64_t>(options_.import.num_threads, 1,
                                                                std::max<std::int64_t>(total_, 1));
      for (std::int64_t i = 0; i < num_threads; ++i) {
        threads.emplace_back([this, mine] { work(mine.end); });
      }
    }
    if (error_) std::rethrow_exception(error_);
    return result_;
  }

  FinishedImport finish() {
    Manifest manifest;
    manifest.kind = "text";
    manifest.fields = text_fields(tokenizer_.vocabulary().size());
    TextCounts counts;
    std::string shard_tokens;
    for (std::int64_t unit = 0; unit < std::ssize(plan_.units); ++unit) {
      const auto json = finished_unit(options_.import.out, unit, plan_hash_);
      if (json.is_null()) {
        throw data_error("'{}' lacks shard {}: run the import again to make it",
                         options_.import.out.string(), unit);
      }
      const TextCounts part = counts_from_json(json.at("counts"));
      counts.add(part);
      if (part.documents == 0) continue;
      manifest.shards.push_back(shard_from_json(json.at("shard")));
      shard_tokens += fmt::format("{}{}", shard_tokens.empty() ? "" : ",", part.tokens);
    }
    if (manifest.shards.empty()) throw data_error("the input has no text: every document is empty");
    describe(manifest, counts, shard_tokens);
    tokenizer_.vocabulary().save(options_.import.out / kVocabularyFile);
    write_manifest(options_.import.out, manifest);
    for (std::int64_t unit = 0; unit < std::ssize(plan_.units); ++unit) {
      std::error_code code;  // what cannot be removed does no harm
      fs::remove(description_of(options_.import.out, unit), code);
    }
    return {read_manifest(options_.import.out), {}, plan_.left_out, {}};
  }

 private:
  void work(std::int64_t end) try {
    for (std::int64_t unit; (unit = next_.fetch_add(1)) < end;) {
      auto json = finished_unit(options_.import.out, unit, plan_hash_);
      if (json.is_null()) json = make_unit(unit);
      const std::lock_guard lock(mutex_);
      result_.num_samples += json.at("counts").at("documents").get<std::int64_t>();
      result_.bytes += shard_from_json(json.at("shard")).file_bytes;
      ++done_;
      if (options_.import.progress) options_.import.progress(done_, total_);
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
    next_ = end;
  }

  nlohmann::ordered_json make_unit(std::int64_t unit) const {
    ShardWriter shard(options_.import.out / shard_file_name(unit),
                      text_fields(tokenizer_.vocabulary().size()));
    DocumentWriter writer(tokenizer_, options_.sentences == "line", shard);
    for (const FilePart& part : plan_.units[static_cast<std::size_t>(unit)]) {
      if (options_.is_jsonl) {
        read_jsonl(part, options_.text_key, writer);
      } else {
        read_text(part, boundary_, options_.whole_bytes, writer);
      }
    }
    nlohmann::ordered_json json = {{"plan", plan_hash_},
                                   {"shard", shard_to_json(shard.finish())},
                                   {"counts", counts_to_json(writer.counts())}};
    write_file_atomically(description_of(options_.import.out, unit), json_text(json));
    return json;
  }

  void describe(Manifest& manifest, const TextCounts& counts,
                const std::string& shard_tokens) const {
    auto& facts = manifest.attributes;
    const auto numbers = counts_to_json(counts);
    for (const auto& [name, value] : numbers.items()) facts[name] = value.dump();
    facts["shard_tokens"] = shard_tokens;
    facts["vocab_size"] = std::to_string(tokenizer_.vocabulary().size());
    facts["tokenizer_hash"] = tokenizer_.hash();
    facts["lowercase"] = options_.normalizer.lowercase ? "true" : "false";
    facts["strip_accents"] = options_.normalizer.strip_accents ? "true" : "false";
    auto& origin = manifest.provenance;
    origin["format"] = options_.is_jsonl ? "jsonl" : "text";
    origin["documents"] = options_.is_jsonl ? "line" : options_.documents;
    origin["sentences"] = options_.sentences;
    origin["vocabulary"] = options_.vocabulary.string();
    origin["input_files"] = std::to_string(plan_.num_files);
    origin["empty_files"] = std::to_string(plan_.num_empty_files);
    origin["input_bytes"] = std::to_string(plan_.total_bytes);
    std::string inputs;
    for (const fs::path& input : options_.import.inputs) {
      inputs += (inputs.empty() ? "" : " ") + input.string();
    }
    origin["inputs"] = inputs;
  }

  const TextImportOptions& options_;
  TextPlan plan_;
  Tokenizer tokenizer_;
  DocumentBoundary boundary_;
  std::string plan_hash_;
  std::atomic<std::int64_t> next_ = 0;
  std::mutex mutex_;
  std::int64_t done_ = 0, total_ = 0;
  ImportResult result_;
  std::exception_ptr error_;
};

}  // namespace

ImportResult import_text(const TextImportOptions& options) { return TextImport(options).run(); }

FinishedImport finish_text_import(const TextImportOptions& options) {
  return TextImport(options).finish();
}

}  // namespace kiln
