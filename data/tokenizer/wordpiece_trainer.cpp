#include "data/tokenizer/wordpiece_trainer.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "core/base/error.h"
#include "data/tokenizer/text_file.h"
#include "data/tokenizer/vocabulary.h"

namespace kiln {
namespace {

using WordCounts = std::unordered_map<std::string, std::int64_t>;

/// Where to cut `text` so that no word is cut, if that is possible.
std::size_t cut_position(const std::string& text) {
  const std::size_t line_end = text.rfind('\n');
  if (line_end != text.npos) return line_end + 1;
  const std::size_t blank = text.find_last_of(" \t");
  return blank == text.npos ? text.size() : blank + 1;
}

class FileChunks {
 public:
  FileChunks(std::vector<std::filesystem::path> files, std::size_t chunk_bytes)
      : files_(std::move(files)), chunk_bytes_(chunk_bytes) {}

  bool operator()(std::string& chunk) {
    while (true) {
      if (!file_ && !open_next()) return false;
      chunk = std::move(rest_);
      rest_.clear();
      const std::size_t kept = chunk.size();
      const std::int64_t count =
          std::min(static_cast<std::int64_t>(chunk_bytes_), file_->size_bytes() - at_);
      chunk.resize(kept + static_cast<std::size_t>(count));
      file_->read_at(chunk.data() + kept, count, at_);
      at_ += count;
      if (at_ >= file_->size_bytes()) {
        file_.reset();
      } else {
        const std::size_t cut = cut_position(chunk);
        rest_ = chunk.substr(cut);
        chunk.resize(cut);
      }
      if (!chunk.empty()) return true;
    }
  }

 private:
  bool open_next() {
    if (next_ == files_.size()) return false;
    file_ = open_text(files_[next_++]);
    at_ = 0;
    return true;
  }

  std::vector<std::filesystem::path> files_;
  std::size_t chunk_bytes_;
  std::size_t next_ = 0;
  std::optional<File> file_;
  std::int64_t at_ = 0;
  std::string rest_;
};

/// Counts chunks on several threads and adds them up in the order of the chunks.
class WordCounter {
 public:
  WordCounter(const ChunkSource& source, const WordPieceTrainerOptions& options)
      : source_(source), options_(options), splitter_(options.normalizer) {}

  WordCounts run() {
    const int threads = std::max(1, options_.threads);
    {
      std::vector<std::jthread> workers;
      for (int i = 0; i < threads; ++i) workers.emplace_back([this] { work(); });
    }
    if (error_) std::rethrow_exception(error_);
    return std::move(total_);
  }

 private:
  void work() try {
    std::string chunk;
    for (std::int64_t number; (number = take(chunk)) >= 0;) add(number, count(chunk));
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
    is_done_ = true;
    changed_.notify_all();
  }

  std::int64_t take(std::string& chunk) {
    std::unique_lock lock(mutex_);
    // Bounds what waits to be added.
    changed_.wait(lock, [&] { return is_done_ || next_ < added_ + 2 * options_.threads + 2; });
    if (is_done_ || !source_(chunk)) {
      is_done_ = true;
      changed_.notify_all();
      return -1;
    }
    return next_++;
  }

  WordCounts count(const std::string& chunk) const {
    WordCounts counts;
    splitter_.split(chunk, [&](const WordSplitter::Word& word) {
      if (!word.is_too_long) ++counts[std::string(word.data, word.size)];
    });
    return counts;
  }

  void add(std::int64_t number, WordCounts counts) {
    const std::lock_guard lock(mutex_);
    waiting_.emplace(number, std::move(counts));
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == added_;
         first = waiting_.erase(first)) {
      for (const auto& [word, n] : first->second) total_[word] += n;
      prune();
      ++added_;
    }
    changed_.notify_all();
  }

  void prune() {
    for (std::int64_t rare = 1; std::ssize(total_) > options_.max_words; ++rare) {
      std::erase_if(total_, [&](const auto& entry) { return entry.second <= rare; });
    }
  }

  const ChunkSource& source_;
  const WordPieceTrainerOptions& options_;
  WordSplitter splitter_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t next_ = 0, added_ = 0;
  bool is_done_ = false;
  std::map<std::int64_t, WordCounts> waiting_;
  WordCounts total_;
  std::exception_ptr error_;
};

std::vector<std::string> characters_of(const std::string& word) {
  std::vector<std::string> characters;
  for (const char byte : word) {
    const bool is_continuation = (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
    if (is_continuation) {
      characters.back() += byte;
    } else {
      characters.emplace_back(1, byte);
    }
  }
  return characters;
}

/// The most frequent characters, sorted.
std::vector<std::string> choose_alphabet(
    const std::vector<std::pair<std::string, std::int64_t>>& words, std::int64_t max_alphabet) {
  std::map<std::string, std::int64_t> counts;
  for (const auto& [word, count] : words) {
    for (const std::string& character : characters_of(word)) counts[character] += count;
  }
  std::vector<std::pair<std::string, std::int64_t>> ranked(counts.begin(), counts.end());
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (std::ssize(ranked) > max_alphabet) ranked.resize(static_cast<std::size_t>(max_alphabet));
  std::vector<std::string> alphabet;
  for (auto& [character, count] : ranked) alphabet.push_back(std::move(character));
  std::sort(alphabet.begin(), alphabet.end());
  return alphabet;
}

/// Joins pairs of neighbouring pieces until the vocabulary is full.
class PairMerger {
 public:
  PairMerger(const std::vector<std::string>& alphabet,
             const std::vector<std::pair<std::string, std::int64_t>>& words) {
    for (const auto special : Vocabulary::kSpecials) add_piece(std::string(special));
    for (const std::string& character : alphabet) add_piece(character);
    for (const std::string& character : alphabet) add_piece("##" + character);
    for (const auto& [text, count] : words) add_word(text, count);
    for (const auto& [pair, count] : counts_) candidates_.push({count, pair});
  }

  std::vector<std::string> run(std::int64_t vocab_size, std::int64_t min_frequency) {
    while (std::ssize(pieces_) < vocab_size && !candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      const std::int64_t count = counts_[best.pair];
      if (count < min_frequency) continue;
      if (count != best.count) {
        candidates_.push(
            {count, best.pair});  // out of date: back into the queue with its real count
        continue;
      }
      merge(best.pair);
    }
    return std::move(pieces_);
  }

 private:
  using Pair = std::uint64_t;  // left id << 32 | right id
  struct Word {
    std::vector<std::int32_t> ids;
    std::int64_t count;
  };
  struct Candidate {
    std::int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };
  static Pair pair_of(std::int32_t left, std::int32_t right) {
    return static_cast<Pair>(left) << 32 | static_cast<std::uint32_t>(right);
  }

  std::int32_t add_piece(const std::string& piece) {
    const auto [found, is_new] = ids_.emplace(piece, static_cast<std::int32_t>(pieces_.size()));
    if (is_new) pieces_.push_back(piece);
    return found->second;
  }

  void add_word(const std::string& text, std::int64_t count) {
    Word word{{}, count};
    for (const std::string& character : characters_of(text)) {
      const auto found = ids_.find(word.ids.empty() ? character : "##" + character);
      if (found == ids_.end()) return;
      word.ids.push_back(found->second);
    }
    words_.push_back(std::move(word));
    count_pairs(words_.size() - 1, 1, kAny);
  }

  /// Adds or takes away a word's pairs. Where a pair occurs is noted for pairs with piece `made`
  /// only (kAny: all); the others are known from before.
  static constexpr std::int32_t kAny = -1;
  void count_pairs(std::size_t index, int sign, std::int32_t made) {
    const Word& word = words_[index];
    for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) {
      const Pair pair = pair_of(word.ids[i], word.ids[i + 1]);
      counts_[pair] += sign * word.count;
      const bool is_new = made == kAny || word.ids[i] == made || word.ids[i + 1] == made;
      if (sign < 0 || !is_new) continue;
      auto& places = places_[pair];
      if (places.empty() || places.back() != index)
        places.push_back(static_cast<std::uint32_t>(index));
    }
  }

  void merge(Pair pair) {
    const auto left = static_cast<std::int32_t>(pair >> 32);
    const auto right = static_cast<std::int32_t>(pair & 0xFFFFFFFF);
    const std::int32_t joined = add_piece(pieces_[static_cast<std::size_t>(left)] +
                                          pieces_[static_cast<std::size_t>(right)].substr(2));
    const std::vector<std::uint32_t> places = std::move(places_[pair]);
    places_.erase(pair);
    for (const std::uint32_t index : places) {
      auto& ids = words_[index].ids;
      count_pairs(index, -1, joined);
      std::size_t out = 0;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        const bool is_pair = i + 1 < ids.size() && ids[i] == left && ids[i + 1] == right;
        ids[out++] = is_pair ? joined : ids[i];
        i += is_pair;
      }
      ids.resize(out);
      count_pairs(index, 1, joined);
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        if (ids[i] != joined && ids[i + 1] != joined) continue;
        touched_.push_back(pair_of(ids[i], ids[i + 1]));
      }
    }
    // The queue has one entry per pair. Its count may be too high but never too low.
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const Pair made : touched_) candidates_.push({counts_[made], made});
    touched_.clear();
  }

  std::vector<std::string> pieces_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<Word> words_;
  std::unordered_map<Pair, std::int64_t> counts_;
  std::unordered_map<Pair, std::vector<std::uint32_t>> places_;
  std::vector<Pair> touched_;
  std::priority_queue<Candidate> candidates_;
};

}  // namespace

ChunkSource file_chunks(std::vector<std::filesystem::path> files, std::size_t chunk_bytes) {
  return [chunks = std::make_shared<FileChunks>(std::move(files), chunk_bytes)](
             std::string& chunk) { return (*chunks)(chunk); };
}

std::vector<std::pair<std::string, std::int64_t>> count_words(
    const ChunkSource& source, const WordPieceTrainerOptions& options) {
  WordCounts counts = WordCounter(source, options).run();
  std::vector<std::pair<std::string, std::int64_t>> words(counts.begin(), counts.end());
  std::sort(words.begin(), words.end());
  return words;
}

std::vector<std::string> train_wordpiece(const ChunkSource& source,
                                         const WordPieceTrainerOptions& options) {
  const auto words = count_words(source, options);
  if (words.empty()) throw data_error("the text to learn a vocabulary from has no words");
  const auto alphabet = choose_alphabet(words, options.max_alphabet);
  const std::int64_t least = std::ssize(Vocabulary::kSpecials) + 2 * std::ssize(alphabet);
  if (options.vocab_size < least) {
    throw usage_error(
        "a vocabulary of {} has no room for the {} special tokens and {} characters (twice each): "
        "ask for at least {}, or for fewer characters (max_alphabet)",
        options.vocab_size, Vocabulary::kSpecials.size(), alphabet.size(), least);
  }
  return PairMerger(alphabet, words).run(options.vocab_size, options.min_frequency);
}

}  // namespace kiln
