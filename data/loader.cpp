#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "core/base/error.h"
#include "core/base/work.h"
#include "data/parallel.h"

namespace kiln {
namespace {

using Clock = std::chrono::steady_clock;

// Samples a thread takes at a time: enough to hide the lock, few enough to share a micro-batch.
constexpr std::int64_t kChunkSamples = 16;

void read_chunk(const BatchSource& source, const SampleOrder& order, Batch& batch, Range rows) {
  std::vector<std::int64_t> ids;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    ids.push_back(order.at(batch.first_position + row));
  }
  source.read(ids, batch.first_position + rows.begin, batch, rows.begin);
}

}  // namespace

// Shared with the threads, which keep it alive should one of them never come back.
struct ThreadedLoader::State {
  struct MicroBatch {
    Batch batch;
    std::int64_t rows_taken = 0;
    std::int64_t rows_left = 0;  // not read yet
    bool is_ready = false;       // read and prepared
  };
  struct Step {
    std::deque<MicroBatch> micro_batches;
    std::int64_t left = 0;  // micro-batches not ready
  };
  // What a thread is at, so that a time-out can say what is waited for. -1: nothing.
  struct Reading {
    std::atomic<std::int64_t> position = -1;
  };

  State(std::shared_ptr<const BatchSource> from, const SampleOrder& order_in,
        const LoaderOptions& options_in, Prepare prepare_in)
      : source(std::move(from)),
        order(order_in),
        options(options_in),
        prepare(std::move(prepare_in)),
        readings(static_cast<std::size_t>(options_in.num_threads)) {}

  const std::shared_ptr<const BatchSource> source;
  const SampleOrder order;
  const LoaderOptions options;
  const Prepare prepare;

  std::mutex mutex;
  std::condition_variable work, ready;
  std::deque<Step> steps;  // the front one is due next; Step and MicroBatch never move (deque)
  std::int64_t next_step_begin = 0;
  bool is_stopping = false;
  std::exception_ptr failure;
  std::vector<Reading> readings;
  std::vector<std::thread> threads;
  bool has_timed_out = false;

  void add_step();
  MicroBatch* find_work(Range& rows);
  void run(std::size_t thread);
  void finish_rows(MicroBatch& micro_batch, std::int64_t num_rows);
  std::string waited_for();
};

// Called with the lock held.
void ThreadedLoader::State::add_step() {
  const Range mine =
      share_of(options.global_batch / options.micro_batch, options.rank, options.num_ranks);
  Step& step = steps.emplace_back();
  step.left = mine.size();
  for (std::int64_t m = mine.begin; m < mine.end; ++m) {
    MicroBatch& micro_batch = step.micro_batches.emplace_back();
    micro_batch.batch = source->allocate(options.micro_batch);
    micro_batch.batch.first_position = next_step_begin + m * options.micro_batch;
    micro_batch.batch.micro_batch = m;
    micro_batch.rows_left = options.micro_batch;
  }
  next_step_begin += options.global_batch;
  work.notify_all();
}

// Called with the lock held. The earliest rows nobody has taken.
ThreadedLoader::State::MicroBatch* ThreadedLoader::State::find_work(Range& rows) {
  for (Step& step : steps) {
    for (MicroBatch& micro_batch : step.micro_batches) {
      if (micro_batch.rows_taken == options.micro_batch) continue;
      rows.begin = micro_batch.rows_taken;
      rows.end = std::min(rows.begin + kChunkSamples, options.micro_batch);
      micro_batch.rows_taken = rows.end;
      return &micro_batch;
    }
  }
  return nullptr;
}

void ThreadedLoader::State::run(std::size_t thread) {
  std::unique_lock lock(mutex);
  while (true) {
    MicroBatch* micro_batch = nullptr;
    Range rows;
    work.wait(lock, [&] { return is_stopping || (micro_batch = find_work(rows)) != nullptr; });
    if (is_stopping) return;
    lock.unlock();
    std::exception_ptr thrown;
    try {
      readings[thread].position = micro_batch->batch.first_position + rows.begin;
      read_chunk(*source, order, micro_batch->batch, rows);
      finish_rows(*micro_batch, rows.size());
    } catch (...) {
      thrown = std::current_exception();
    }
    readings[thread].position = -1;
    lock.lock();
    if (thrown) {
      if (!failure) failure = thrown;
      is_stopping = true;
      work.notify_all();
      ready.notify_all();
      return;
    }
  }
}

// The thread that reads a micro-batch's last rows prepares it.
void ThreadedLoader::State::finish_rows(MicroBatch& micro_batch, std::int64_t num_rows) {
  {
    const std::lock_guard lock(mutex);
    micro_batch.rows_left -= num_rows;
    if (micro_batch.rows_left > 0) return;
  }
  if (prepare) prepare(micro_batch.batch);
  const std::lock_guard lock(mutex);
  micro_batch.is_ready = true;
  for (Step& step : steps) {
    for (const MicroBatch& other : step.micro_batches) {
      if (&other == &micro_batch && --step.left == 0) ready.notify_all();
    }
  }
}

std::string ThreadedLoader::State::waited_for() {
  std::string text;
  for (const Reading& reading : readings) {
    const std::int64_t position = reading.position;
    if (position < 0) continue;
    text += (text.empty() ? "" : "; ") + source->describe(order.at(position));
  }
  return text.empty() ? "no thread is reading" : text;
}

Batch ThreadedLoader::read(std::int64_t samples_seen, std::int64_t micro_batch) {
  const LoaderOptions& options = state_->options;
  Batch batch = state_->source->allocate(options.micro_batch);
  batch.first_position = samples_seen + micro_batch * options.micro_batch;
  batch.micro_batch = micro_batch;
  read_chunk(*state_->source, state_->order, batch, {0, options.micro_batch});
  if (state_->prepare) state_->prepare(batch);
  return batch;
}

ThreadedLoader::ThreadedLoader(std::shared_ptr<const BatchSource> source, const SampleOrder& order,
                               const LoaderOptions& options, Prepare prepare)
    : state_(std::make_shared<State>(std::move(source), order, options, std::move(prepare))) {
  KILN_CHECK(options.micro_batch > 0 && options.global_batch % options.micro_batch == 0,
             "global batch {} and micro-batch {}", options.global_batch, options.micro_batch);
  KILN_CHECK(options.num_threads > 0 && options.look_ahead_steps >= 0, "a loader without threads");
}

ThreadedLoader::~ThreadedLoader() { stop(); }

void ThreadedLoader::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_stopping = true;
    state_->work.notify_all();
  }
  for (std::thread& thread : state_->threads) {
    if (state_->has_timed_out) {
      thread.detach();
    } else {
      thread.join();
    }
  }
  state_->threads.clear();
}

void ThreadedLoader::start(std::int64_t samples_seen) {
  stop();
  state_ = std::make_shared<State>(state_->source, state_->order, state_->options, state_->prepare);
  const std::shared_ptr<State> state = state_;
  state->next_step_begin = samples_seen;
  {
    const std::lock_guard lock(state->mutex);
    for (std::int64_t i = 0; i <= state->options.look_ahead_steps; ++i) state->add_step();
  }
  for (std::size_t i = 0; i < state->readings.size(); ++i) {
    state->threads.emplace_back([state, i] { state->run(i); });
  }
}

// True when the due step is read or reading has failed; gives up at `moment` or the time-out.
bool ThreadedLoader::wait_until(Clock::time_point moment) {
  State& state = *state_;
  if (!wait_began_) wait_began_ = Clock::now();
  const auto last = *wait_began_ + std::chrono::duration_cast<Clock::duration>(
                                       std::chrono::duration<double>(state.options.timeout_s));
  std::unique_lock lock(state.mutex);
  KILN_CHECK(!state.steps.empty(), "a loader is waited for before start");
  const bool is_read = state.ready.wait_until(
      lock, std::min(moment, last), [&] { return state.failure || state.steps.front().left == 0; });
  state.has_timed_out = !is_read && Clock::now() >= last;
  return is_read;
}

bool ThreadedLoader::is_ready_within(double wait_s) {
  const auto wait = std::chrono::duration<double>(wait_s);
  return wait_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(wait)) ||
         state_->has_timed_out;
}

std::vector<Batch> ThreadedLoader::next() {
  const bool is_read = wait_until(Clock::time_point::max());
  wait_began_.reset();
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (state.failure) std::rethrow_exception(state.failure);
  if (!is_read) {
    // Nothing is wrong with the data: as after any other hang, another start may do better.
    throw communication_error(
        "rank {} has had no data for {} s: still reading {}. Is the file system alive? "
        "parallel.timeout_s bounds this wait",
        state.options.rank, state.options.timeout_s, state.waited_for());
  }
  std::vector<Batch> batches;
  for (auto& micro_batch : state.steps.front().micro_batches) {
    batches.push_back(std::move(micro_batch.batch));
  }
  state.steps.pop_front();
  state.add_step();
  return batches;
}

std::int64_t ThreadedLoader::num_samples() const { return state_->source->num_samples(); }

DatasetReader::DatasetReader(std::shared_ptr<const BatchSource> source, std::int64_t num_threads)
    : source_(std::move(source)), num_threads_(std::max<std::int64_t>(num_threads, 1)) {}

Batch DatasetReader::read(std::int64_t begin, std::int64_t end) const {
  Batch batch = source_->allocate(end - begin);
  batch.first_position = begin;
  parallel_for(end - begin, kChunkSamples, num_threads_, [&](Range rows) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(rows.size()));
    std::iota(ids.begin(), ids.end(), begin + rows.begin);
    source_->read(ids, begin + rows.begin, batch, rows.begin);
  });
  return batch;
}

}  // namespace kiln
