#include "data/text/text_source.h"

#include <algorithm>

#include "core/base/error.h"
#include "data/store/host_tensor.h"
#include "data/text/pair_source.h"
#include "data/text/text_rows.h"

namespace kiln {
namespace {

class WindowSource : public BatchSource {
 public:
  WindowSource(std::shared_ptr<const TokenStream> stream, std::int64_t length)
      : stream_(std::move(stream)), length_(length), first_windows_{0} {
    for (std::int64_t shard = 0; shard < stream_->num_shards(); ++shard) {
      const std::int64_t windows = (stream_->num_tokens(shard) + stride() - 1) / stride();
      first_windows_.push_back(first_windows_.back() + windows);
      block_samples_ = std::max(block_samples_, windows);
    }
  }

  std::int64_t num_samples() const override { return first_windows_.back(); }
  std::int64_t block_samples() const override { return block_samples_; }
  Batch allocate(std::int64_t num_samples) const override {
    return allocate_text(num_samples, length_, false);
  }

  void read(std::span<const std::int64_t> ids, std::int64_t, Batch& batch,
            std::int64_t row_begin) const override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      read_window(ids[i], TextRow(batch, row_begin + static_cast<std::int64_t>(i)));
    }
  }

  std::string describe(std::int64_t id) const override {
    const std::int64_t shard = shard_of(id);
    return fmt::format("{}, tokens from {}",
                       stream_->dataset().shard(shard)->path().filename().string(),
                       (id - first_windows_[static_cast<std::size_t>(shard)]) * stride());
  }

 private:
  std::int64_t stride() const { return length_ - 2; }
  std::int64_t shard_of(std::int64_t id) const {
    const auto after = std::upper_bound(first_windows_.begin(), first_windows_.end(), id);
    return after - first_windows_.begin() - 1;
  }

  void read_window(std::int64_t id, TextRow row) const {
    const std::int64_t shard = shard_of(id);
    const std::int64_t begin = (id - first_windows_[static_cast<std::size_t>(shard)]) * stride();
    const std::int64_t end = std::min(begin + stride(), stream_->num_tokens(shard));
    std::vector<std::int64_t> ids(static_cast<std::size_t>(end - begin));
    stream_->read(shard, {begin, end}, ids.data());

    const auto documents = stream_->documents(shard);
    auto next =
        std::upper_bound(documents.begin(), documents.end(), static_cast<std::uint64_t>(begin));
    const Vocabulary& vocabulary = stream_->tokenizer().vocabulary();
    const bool starts_document = static_cast<std::int64_t>(*(next - 1)) == begin;
    if (!starts_document) row.append(vocabulary.cls(), TokenKind::kSpecial);
    for (std::int64_t at = begin; at < end; ++at) {
      if (at == static_cast<std::int64_t>(*next)) {
        row.next_document();
        ++next;
      }
      const std::int64_t token = ids[static_cast<std::size_t>(at - begin)];
      row.append(token, stream_->kind(token));
    }
    if (static_cast<std::int64_t>(*next) != end) row.append(vocabulary.sep(), TokenKind::kSpecial);
    row.pad(vocabulary.pad());
  }

  std::shared_ptr<const TokenStream> stream_;
  std::int64_t length_;
  std::vector<std::int64_t> first_windows_;  // per shard, and the total
  std::int64_t block_samples_ = 0;
};

}  // namespace

DatasetInfo describe_text(const TokenStream& stream, const TextOptions& options) {
  if (options.sequence_length < 8) {
    throw usage_error("data.sequence_length = {}: at least 8", options.sequence_length);
  }
  if (options.pairs != "none" && options.pairs != "nsp" && options.pairs != "sop") {
    throw usage_error("data.pairs = '{}': choose none, nsp or sop", options.pairs);
  }
  const Vocabulary& vocabulary = stream.tokenizer().vocabulary();
  DatasetInfo info;
  info.kind = "text";
  info.fingerprint = stream.dataset().manifest().fingerprint();
  info.vocab_size = vocabulary.size();
  info.sequence_length = options.sequence_length;
  info.identity["tokenizer"] = stream.tokenizer().hash();
  info.facts["mask_token"] = std::to_string(vocabulary.mask());
  info.facts["has_pairs"] = options.pairs != "none" ? "true" : "false";
  info.num_samples =
      make_text_source(std::shared_ptr<const TokenStream>(&stream, [](const TokenStream*) {}),
                       options, 0)
          ->num_samples();
  return info;
}

std::shared_ptr<const BatchSource> make_text_source(std::shared_ptr<const TokenStream> stream,
                                                    const TextOptions& options,
                                                    std::uint64_t seed) {
  if (options.pairs == "none") {
    return std::make_shared<WindowSource>(std::move(stream), options.sequence_length);
  }
  return make_pair_source(std::move(stream), options, seed);
}

}  // namespace kiln
