#include "data/loader.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "core/base/error.h"
#include "core/base/work.h"
#include "tests/data/small_dataset.h"
#include "tests/support/temporary_folder.h"

namespace kiln {
namespace {

// What a run saw: per position the label (= sample id) and the pixels.
using Ledger = std::map<std::int64_t, std::pair<std::int64_t, std::string>>;

LoaderOptions options_of(std::int64_t rank, std::int64_t num_ranks, std::int64_t num_threads) {
  LoaderOptions options;
  options.global_batch = 24;
  options.micro_batch = 4;
  options.rank = rank;
  options.num_ranks = num_ranks;
  options.num_threads = num_threads;
  options.timeout_s = 20.0;
  return options;
}

void write_down(const Batch& batch, Ledger& ledger) {
  const at::Tensor& image = batch.at("image");
  const std::int64_t bytes = image.numel() / batch.num_samples;
  for (std::int64_t b = 0; b < batch.num_samples; ++b) {
    const auto* pixels = reinterpret_cast<const char*>(image.data_ptr<std::uint8_t>()) + b * bytes;
    const bool is_new =
        ledger
            .try_emplace(batch.first_position + b, batch.at("label").data_ptr<std::int64_t>()[b],
                         std::string(pixels, static_cast<std::size_t>(bytes)))
            .second;
    EXPECT_TRUE(is_new) << "position " << batch.first_position + b << " was read twice";
  }
}

Ledger run(const std::filesystem::path& folder, std::int64_t num_ranks, std::int64_t num_threads,
           std::int64_t begin, int num_steps) {
  ImageOptions images;
  images.flip = true;
  const auto source = open_images(folder, images);
  const SampleOrder order({source->num_samples(), 10, 2, true, 42});
  Ledger ledger;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    ThreadedLoader loader(source, order, options_of(rank, num_ranks, num_threads), nullptr);
    loader.start(begin);
    for (int step = 0; step < num_steps; ++step) {
      for (const Batch& batch : loader.next()) write_down(batch, ledger);
    }
  }
  return ledger;
}

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() { write_numbered_images(path(), 50, 10); }
  std::filesystem::path path() const { return folder_.path() / "d"; }
  TemporaryFolder folder_;
};

TEST_F(LoaderTest, BatchesDoNotDependOnTheNumberOfThreads) {
  const Ledger one = run(path(), 1, 1, 0, 5);
  EXPECT_EQ(one.size(), 5u * 24u);
  EXPECT_EQ(one, run(path(), 1, 3, 0, 5));
  EXPECT_EQ(one, run(path(), 1, 8, 0, 5));
}

TEST_F(LoaderTest, HalfOfStoredImagesAreMirrored) {
  ImageOptions mirrored;
  mirrored.flip = true;
  const at::Tensor stored =
      DatasetReader(open_images(path()), 1).read(0, 50).at("image").clone();  // [B, H, W, C]
  const at::Tensor seen = DatasetReader(open_images(path(), mirrored), 2).read(0, 50).at("image");
  const at::Tensor is_kept = seen.eq(stored).flatten(1).all(1);
  const at::Tensor is_mirrored = seen.eq(stored.flip({2})).flatten(1).all(1);
  EXPECT_TRUE(is_kept.logical_xor(is_mirrored).all().item<bool>());
  EXPECT_NEAR(is_mirrored.sum().item<double>(), 25, 12);  // 3.4 standard deviations
}

TEST_F(LoaderTest, RanksTogetherSeeTheSamePositionsSamplesAndPixels) {
  const Ledger one = run(path(), 1, 2, 0, 5);
  for (const std::int64_t num_ranks : {2, 3, 4}) {
    EXPECT_EQ(one, run(path(), num_ranks, 2, 0, 5)) << num_ranks << " ranks";
  }
}

TEST_F(LoaderTest, ResumesAnywhere) {
  const Ledger whole = run(path(), 1, 2, 0, 6);
  for (const auto& [position, sample] : run(path(), 2, 2, 3 * 24, 3)) {
    EXPECT_EQ(whole.at(position), sample);
  }
}

/// Counts the samples that are read from another source.
class CountingSource : public BatchSource {
 public:
  explicit CountingSource(std::shared_ptr<const BatchSource> source) : source_(std::move(source)) {}
  std::int64_t num_samples() const override { return source_->num_samples(); }
  Batch allocate(std::int64_t count) const override { return source_->allocate(count); }
  std::string describe(std::int64_t id) const override { return source_->describe(id); }
  void read(std::span<const std::int64_t> ids, std::int64_t positions_begin, Batch& batch,
            std::int64_t row_begin) const override {
    num_read += std::ssize(ids);
    source_->read(ids, positions_begin, batch, row_begin);
  }
  mutable std::atomic<std::int64_t> num_read = 0;

 private:
  std::shared_ptr<const BatchSource> source_;
};

// However far a run has come, its first step after a resume reads that step and the look-ahead.
TEST_F(LoaderTest, ResumeReadsNothingThatLiesBefore) {
  for (const std::int64_t begin : {std::int64_t{0}, 24 * std::int64_t{1'000'000'000'000}}) {
    const auto source = std::make_shared<CountingSource>(open_images(path(), ImageOptions()));
    const SampleOrder order({source->num_samples(), 10, 2, true, 42});
    const LoaderOptions options = options_of(0, 1, 1);
    {
      ThreadedLoader loader(source, order, options, nullptr);
      loader.start(begin);
      EXPECT_EQ(loader.next().front().first_position, begin);
    }
    EXPECT_LE(source->num_read, (options.look_ahead_steps + 2) * options.global_batch);
  }
}

TEST_F(LoaderTest, EveryEpochHoldsEverySampleOnce) {
  const Ledger ledger = run(path(), 3, 2, 0, 25);  // 600 positions: 12 epochs
  for (std::int64_t epoch = 0; epoch < 12; ++epoch) {
    std::vector<bool> is_seen(50);
    for (std::int64_t i = 0; i < 50; ++i) {
      is_seen[static_cast<std::size_t>(ledger.at(epoch * 50 + i).first)] = true;
    }
    EXPECT_EQ(std::count(is_seen.begin(), is_seen.end(), true), 50);
  }
}

TEST_F(LoaderTest, MicroBatchesComeInOrderWithTheirNumbers) {
  const auto source = open_images(path());
  ThreadedLoader loader(source, SampleOrder({50, 10, 2, true, 1}), options_of(1, 4, 3), nullptr);
  loader.start(48);
  const Range mine = share_of(6, 1, 4);
  const auto batches = loader.next();
  ASSERT_EQ(std::ssize(batches), mine.size());
  for (std::size_t i = 0; i < batches.size(); ++i) {
    EXPECT_EQ(batches[i].micro_batch, mine.begin + static_cast<std::int64_t>(i));
    EXPECT_EQ(batches[i].first_position, 48 + 4 * batches[i].micro_batch);
    EXPECT_EQ(batches[i].num_samples, 4);
    EXPECT_EQ(batches[i].at("image").sizes(), (std::vector<std::int64_t>{4, 4, 3, 1}));
  }
}

TEST_F(LoaderTest, PreparesEveryBatchOnceAfterItIsComplete) {
  const auto source = open_images(path());
  std::mutex mutex;
  std::map<std::int64_t, int> calls;
  const Prepare prepare = [&](Batch& batch) {
    batch.denominators["samples"] = static_cast<double>(batch.num_samples);
    const std::lock_guard lock(mutex);
    ++calls[batch.first_position];
  };
  {
    ThreadedLoader loader(source, SampleOrder({50, 10, 2, true, 1}), options_of(0, 1, 3), prepare);
    loader.start(0);
    for (int step = 0; step < 4; ++step) {
      for (const Batch& batch : loader.next()) EXPECT_EQ(batch.denominators.at("samples"), 4.0);
    }
  }  // its threads have ended
  for (const auto& [position, count] : calls) EXPECT_EQ(count, 1) << position;
  EXPECT_LE(calls.size(), 7u * 6u);  // 4 taken, one due and two ahead
}

TEST_F(LoaderTest, AFailureOfAThreadReachesTheLoop) {
  const auto source = open_images(path());
  const Prepare prepare = [](Batch& batch) {
    if (batch.first_position == 32) throw data_error("bad sample");
  };
  ThreadedLoader loader(source, SampleOrder({50, 10, 2, true, 1}), options_of(0, 1, 3), prepare);
  loader.start(0);
  const auto read_two = [&] {
    loader.next();
    loader.next();
  };
  EXPECT_THROW(read_two(), Error);
}

// A source whose reads block until released, as those of a dead file server do.
class StuckSource : public BatchSource {
 public:
  explicit StuckSource(std::shared_ptr<const BatchSource> from) : from_(std::move(from)) {}
  ~StuckSource() override = default;
  std::int64_t num_samples() const override { return from_->num_samples(); }
  Batch allocate(std::int64_t count) const override { return from_->allocate(count); }
  void read(std::span<const std::int64_t>, std::int64_t, Batch&, std::int64_t) const override {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [&] { return is_released_; });
  }
  std::string describe(std::int64_t id) const override { return from_->describe(id); }
  void release() const {
    const std::lock_guard lock(mutex_);
    is_released_ = true;
    released_.notify_all();
  }

 private:
  std::shared_ptr<const BatchSource> from_;
  mutable std::mutex mutex_;
  mutable std::condition_variable released_;
  mutable bool is_released_ = false;
};

TEST_F(LoaderTest, ATimeOutNamesTheShardAndDoesNotHangAtTheEnd) {
  const auto source = std::make_shared<const StuckSource>(open_images(path()));
  LoaderOptions options = options_of(0, 1, 2);
  options.timeout_s = 0.05;
  {
    ThreadedLoader loader(source, SampleOrder({50, 10, 2, false, 1}), options, nullptr);
    loader.start(0);
    try {
      loader.next();
      FAIL() << "no time-out";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kCommunication);
      EXPECT_NE(std::string(error.what()).find("shard-00000.h5"), std::string::npos)
          << error.what();
    }
  }
  source->release();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

TEST_F(LoaderTest, CanBeDestroyedWhileReading) {
  const auto source = open_images(path());
  for (int i = 0; i < 20; ++i) {
    ThreadedLoader loader(source, SampleOrder({50, 10, 2, true, 1}), options_of(0, 1, 4), nullptr);
    loader.start(0);
  }
}

TEST_F(LoaderTest, DatasetReaderGivesRowsInOrder) {
  const auto source = open_images(path());
  const Batch one = DatasetReader(source, 1).read(5, 45);
  const Batch three = DatasetReader(source, 3).read(5, 45);
  EXPECT_TRUE(at::equal(one.at("image"), three.at("image")));
  EXPECT_TRUE(at::equal(one.at("label"), at::arange(5, 45)));
}

}  // namespace
}  // namespace kiln
