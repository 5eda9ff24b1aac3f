#include "data/text/token_stream.h"

#include <algorithm>

#include "core/base/error.h"

namespace kiln {
namespace {

template <typename Id>
void read_as(const Shard& shard, Range tokens, std::int64_t* out) {
  std::vector<Id> ids(static_cast<std::size_t>(tokens.size()));
  shard.read_values("tokens", tokens, ids.data());
  std::copy(ids.begin(), ids.end(), out);
}

void check_kind(const Dataset& dataset) {
  const Manifest& manifest = dataset.manifest();
  if (manifest.kind == "text" && manifest.fields.contains("tokens") &&
      manifest.fields.contains("sentences")) {
    return;
  }
  throw data_error(
      "the dataset '{}' is of kind '{}', not text; make one with `kiln data import text`",
      dataset.folder().string(), manifest.kind);
}

}  // namespace

TokenStream::TokenStream(std::shared_ptr<const Dataset> dataset) : dataset_(std::move(dataset)) {
  check_kind(*dataset_);
  const Manifest& manifest = dataset_->manifest();
  tokenizer_ = dataset_tokenizer(dataset_->folder(), manifest);
  is_wide_ = manifest.fields.at("tokens").dtype == DType::kUInt32;
  for (std::int64_t shard = 0; shard < dataset_->num_shards(); ++shard) {
    offsets_.push_back(dataset_->shard(shard)->row_offsets("tokens"));
  }
  const Vocabulary& vocabulary = tokenizer_->vocabulary();
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    kinds_.push_back(vocabulary.is_special(id) && id != vocabulary.unk() ? TokenKind::kSpecial
                     : vocabulary.is_continuation(id)                    ? TokenKind::kContinuation
                                                                         : TokenKind::kWordStart);
  }
}

void TokenStream::read(std::int64_t shard, Range tokens, std::int64_t* out) const {
  const auto file = dataset_->shard(shard);
  if (is_wide_) {
    read_as<std::uint32_t>(*file, tokens, out);
  } else {
    read_as<std::uint16_t>(*file, tokens, out);
  }
  const std::int64_t vocab_size = std::ssize(kinds_);
  for (std::int64_t i = 0; i < tokens.size(); ++i) {
    if (out[i] < vocab_size) continue;
    throw data_error(
        "'{}': token {} has id {}, beyond the vocabulary of {}: the dataset is damaged "
        "(kiln data verify)",
        file->path().string(), tokens.begin + i, out[i], vocab_size);
  }
}

std::shared_ptr<const Tokenizer> dataset_tokenizer(const std::filesystem::path& folder,
                                                   const Manifest& manifest) {
  const auto is_true = [&](const char* key) {
    const auto found = manifest.attributes.find(key);
    return found != manifest.attributes.end() && found->second == "true";
  };
  auto tokenizer = std::make_shared<const Tokenizer>(
      Vocabulary::load(folder / "vocab.txt"),
      NormalizerOptions{is_true("lowercase"), is_true("strip_accents")});
  const auto hash = manifest.attributes.find("tokenizer_hash");
  if (hash == manifest.attributes.end() || hash->second != tokenizer->hash()) {
    throw data_error(
        "'{}': vocab.txt is not the one the dataset was made with (tokenizer {}, "
        "dataset.json says {})",
        folder.string(), tokenizer->hash(),
        hash == manifest.attributes.end() ? "nothing" : hash->second);
  }
  return tokenizer;
}

}  // namespace kiln
