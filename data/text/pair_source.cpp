#include "data/text/pair_source.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/text/text_rows.h"

namespace kiln {
namespace {

using Tokens = std::vector<std::int64_t>;

/// Consecutive sentences, each a list of tokens.
using Sentences = std::vector<Tokens>;

/// The draws for one sample, one after the other.
class Draws {
 public:
  Draws(std::uint64_t seed, std::int64_t position) : stream_(seed, Purpose::kPairs, position) {}
  std::int64_t below(std::int64_t bound) { return stream_.below(bound, next_++); }
  bool coin() { return below(2) == 1; }
  bool chance(double p) { return static_cast<double>(below(1 << 24)) < p * (1 << 24); }

 private:
  Philox stream_;
  std::uint64_t next_ = 0;
};

struct Pair {
  Tokens first, second;
  std::int64_t label = 0;
};

Tokens join(const Sentences& sentences, std::size_t begin, std::size_t end) {
  Tokens tokens;
  for (std::size_t i = begin; i < end; ++i) {
    tokens.insert(tokens.end(), sentences[i].begin(), sentences[i].end());
  }
  return tokens;
}

/// Drops tokens of the longer part, each from its front or back with equal probability, until both
/// fit.
void truncate(Pair& pair, std::int64_t room, Draws& draws) {
  std::size_t front[2] = {0, 0};
  std::size_t size[2] = {pair.first.size(), pair.second.size()};
  while (static_cast<std::int64_t>(size[0] + size[1]) > room) {
    const int longer = size[0] > size[1] ? 0 : 1;
    if (draws.coin()) ++front[longer];
    --size[longer];
  }
  Tokens* parts[2] = {&pair.first, &pair.second};
  for (int i = 0; i < 2; ++i) {
    const auto begin = parts[i]->begin() + static_cast<std::ptrdiff_t>(front[i]);
    *parts[i] = Tokens(begin, begin + static_cast<std::ptrdiff_t>(size[i]));
  }
}

class PairSource : public BatchSource {
 public:
  PairSource(std::shared_ptr<const TokenStream> stream, const TextOptions& options,
             std::uint64_t seed)
      : stream_(std::move(stream)), options_(options), seed_(seed), first_chunks_{0} {
    for (std::int64_t shard = 0; shard < stream_->num_shards(); ++shard) {
      const auto documents = stream_->documents(shard);
      const std::int64_t chunks_before = first_chunks_.back();
      first_documents_.push_back(std::ssize(first_chunks_) - 1);
      for (std::size_t i = 0; i + 1 < documents.size(); ++i) {
        const auto content = static_cast<std::int64_t>(documents[i + 1] - documents[i]) - 2;
        first_chunks_.push_back(first_chunks_.back() + (content + room() - 1) / room());
      }
      block_samples_ = std::max(block_samples_, first_chunks_.back() - chunks_before);
    }
  }

  std::int64_t num_samples() const override { return first_chunks_.back(); }
  std::int64_t block_samples() const override { return block_samples_; }
  Batch allocate(std::int64_t num_samples) const override {
    return allocate_text(num_samples, options_.sequence_length, true);
  }

  void read(std::span<const std::int64_t> ids, std::int64_t positions_begin, Batch& batch,
            std::int64_t row_begin) const override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto offset = static_cast<std::int64_t>(i);
      Draws draws(seed_, positions_begin + offset);
      write(make_pair(ids[i], draws), TextRow(batch, row_begin + offset));
    }
  }

  std::string describe(std::int64_t id) const override {
    const Place place = locate(id);
    return fmt::format("{}, document {}, stretch {}",
                       stream_->dataset().shard(place.shard)->path().filename().string(),
                       place.document, place.chunk);
  }

 private:
  struct Place {
    std::int64_t shard, document;  // document within the shard
    std::int64_t chunk;            // stretch within the document
    friend bool same_document(const Place& a, const Place& b) {
      return a.shard == b.shard && a.document == b.document;
    }
  };
  std::int64_t room() const { return options_.sequence_length - 3; }

  Place locate(std::int64_t id) const {
    const auto after = std::upper_bound(first_chunks_.begin(), first_chunks_.end(), id);
    const std::int64_t document = after - first_chunks_.begin() - 1;
    const auto shard =
        std::upper_bound(first_documents_.begin(), first_documents_.end(), document) -
        first_documents_.begin() - 1;
    return {shard, document - first_documents_[static_cast<std::size_t>(shard)],
            id - first_chunks_[static_cast<std::size_t>(document)]};
  }

  /// Ends of sentences of a document, counted in tokens from the document's [CLS].
  std::uint32_t sentence_end(const Shard& shard, Range ends, std::int64_t number) const {
    std::uint32_t end = 0;
    const std::int64_t at = ends.begin + number;
    shard.read_values("sentences", {at, at + 1}, &end);
    return end;
  }
  /// Number of the first sentence that starts at `token` of the document or later.
  std::int64_t first_sentence_from(const Shard& shard, Range ends, std::int64_t token) const {
    if (token <= 1) return 0;
    std::int64_t low = 0, high = ends.size();  // the first end at or behind `token`
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (sentence_end(shard, ends, middle) < token) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return std::min(low + 1, ends.size());
  }

  Sentences read_sentences(const Place& place) const {
    const auto shard = stream_->dataset().shard(place.shard);
    const Range ends = shard->row_range("sentences", place.document);
    const auto documents = stream_->documents(place.shard);
    const auto begin =
        static_cast<std::int64_t>(documents[static_cast<std::size_t>(place.document)]);
    const auto end =
        static_cast<std::int64_t>(documents[static_cast<std::size_t>(place.document) + 1]) - 1;
    const std::int64_t first = first_sentence_from(*shard, ends, 1 + place.chunk * room());
    const std::int64_t last = first_sentence_from(*shard, ends, 1 + (place.chunk + 1) * room());
    if (first == last) {  // one long sentence spans the stretch: it is taken as it is
      const std::int64_t from = begin + 1 + place.chunk * room();
      return {read_tokens(place.shard, {from, std::min(from + room(), end)})};
    }
    Sentences sentences;
    std::int64_t from = first == 0 ? 1 : sentence_end(*shard, ends, first - 1);
    for (std::int64_t number = first; number < last; ++number) {
      const std::int64_t to = sentence_end(*shard, ends, number);
      sentences.push_back(read_tokens(place.shard, {begin + from, begin + to}));
      from = to;
    }
    return sentences;
  }

  Tokens read_tokens(std::int64_t shard, Range range) const {
    Tokens tokens(static_cast<std::size_t>(range.size()));
    stream_->read(shard, range, tokens.data());
    return tokens;
  }

  /// Text of at most about `length` tokens from another document, if some tries find one.
  Tokens read_elsewhere(const Place& here, std::int64_t length, Draws& draws) const {
    Place there = here;
    for (int attempt = 0; attempt < 32; ++attempt) {
      there = locate(draws.below(num_samples()));
      if (!same_document(here, there)) break;
    }
    Tokens tokens;
    const Sentences sentences = read_sentences(there);
    const auto first = static_cast<std::size_t>(draws.below(std::ssize(sentences)));
    for (std::size_t i = first; i < sentences.size() && std::ssize(tokens) < length; ++i) {
      tokens.insert(tokens.end(), sentences[i].begin(), sentences[i].end());
    }
    return tokens;
  }

  Pair make_pair(std::int64_t id, Draws& draws) const {
    const Place place = locate(id);
    Sentences sentences = read_sentences(place);
    const bool is_short = draws.chance(options_.short_pairs);
    const std::int64_t target = is_short ? 2 + draws.below(room() - 1) : room();
    std::size_t count = 0;
    for (std::int64_t size = 0; count < sentences.size() && size < target; ++count) {
      size += std::ssize(sentences[count]);
    }
    sentences.resize(count);
    const auto cut =
        count > 1 ? 1 + static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(count) - 1))
                  : 1;
    Pair pair{join(sentences, 0, cut), join(sentences, cut, count), 0};
    if (options_.pairs == "sop") {
      make_order_pair(pair, draws);
    } else if (count == 1 || draws.coin()) {
      pair.label = 1;
      pair.second =
          read_elsewhere(place, std::max<std::int64_t>(target - std::ssize(pair.first), 1), draws);
    }
    truncate(pair, target, draws);
    return pair;
  }

  /// Swaps the parts with probability 1/2. A single sentence is cut in the middle first.
  static void make_order_pair(Pair& pair, Draws& draws) {
    if (pair.second.empty()) {
      const auto middle = pair.first.begin() + std::ssize(pair.first) / 2;
      pair.second.assign(middle, pair.first.end());
      pair.first.erase(middle, pair.first.end());
    }
    if (!draws.coin()) return;
    std::swap(pair.first, pair.second);
    pair.label = 1;
  }

  void write(const Pair& pair, TextRow row) const {
    const Vocabulary& vocabulary = stream_->tokenizer().vocabulary();
    row.append(vocabulary.cls(), TokenKind::kSpecial);
    for (const std::int64_t token : pair.first) row.append(token, stream_->kind(token));
    row.append(vocabulary.sep(), TokenKind::kSpecial);
    row.next_segment();
    for (const std::int64_t token : pair.second) row.append(token, stream_->kind(token));
    row.append(vocabulary.sep(), TokenKind::kSpecial);
    row.pad(vocabulary.pad());
    row.set_pair_label(pair.label);
  }

  std::shared_ptr<const TokenStream> stream_;
  TextOptions options_;
  std::uint64_t seed_;
  std::vector<std::int64_t> first_chunks_;     // per document of the dataset, and the total
  std::vector<std::int64_t> first_documents_;  // per shard
  std::int64_t block_samples_ = 0;
};

}  // namespace

std::shared_ptr<const BatchSource> make_pair_source(std::shared_ptr<const TokenStream> stream,
                                                    const TextOptions& options,
                                                    std::uint64_t seed) {
  return std::make_shared<PairSource>(std::move(stream), options, seed);
}

}  // namespace kiln
