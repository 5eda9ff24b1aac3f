#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/file_io.h"
#include "core/base/work.h"

namespace kiln {

/// A tensor or a part of it, under its global name: a checkpoint does not say which rank held it.
struct Piece {
  /// Master weight "NAME"; moving average "ema/NAME"; model buffer "buffer/NAME"; optimizer state
  /// "exp_avg/NAME" and the like. No '@'.
  std::string name;
  std::vector<std::int64_t> shape;  // of the whole tensor
  Range elements;                   // which part of its row-major order `data` is
  at::Tensor data;                  // 1-D, contiguous, elements.size() long, on any device
};

/// All state of a run, or rather the pieces of it that one rank saves. The pieces of all ranks
/// together must cover every tensor exactly once: a replicated rank gives its share, a sharded one
/// the slices it owns. Everything but the pieces is equal on all ranks.
struct CheckpointState {
  std::int64_t step = 0;
  std::int64_t samples_seen = 0;
  std::map<std::string, std::string> identity;  // RecipeReader::identity()
  std::map<std::string, std::string>
      environment;  // threads, build, processor: see reproducible mode
  std::string recipe_hash;
  std::string dataset_fingerprint;
  std::map<std::string, std::int64_t> extra;  // further integers a resume needs
  std::vector<Piece> weights;                 // fp32 master weights, "ema/...", "buffer/..."
  std::vector<Piece> optimizer;
};

/// Writes RUN/checkpoints/step-NNNNNNNNN. No member communicates; the ranks agree through the step
/// vote of the loop, which carries has_succeeded() and has_failed() of every rank:
///
///   writer.begin(state);                      // every rank, same step
///   ... forward and backward go on: whatever changes the pieces waits for
///   writer.wait_for_snapshot();
///   ... steps go on; each vote adds up has_succeeded() and has_failed() over the ranks ...
///   when succeeded + failed == ranks:  failed == 0 ? writer.commit() : writer.abandon();
///   writer.wait();                            // before the program ends: until the commit is
///   through
///
/// What the disk holds at any instant, and after a crash or a power cut at it:
/// 1. Files are written to step-N.partial and fsynced; nothing reads that folder.
/// 2. commit() on rank 0 writes manifest.json there, last, and renames the folder to step-N. So
///    step-N is complete from the instant it exists.
/// 3. An older checkpoint is removed only after that rename is durable.
/// 4. A rank of an older attempt (RUN/attempt was raised since) never writes a manifest.
/// A failed save leaves the checkpoints there were; the reason is in failure().
///
/// Thread safety: one thread calls. The background thread is the writer's own.
class CheckpointWriter {
 public:
  struct Options {
    std::filesystem::path run_dir;
    int rank = 0;
    int ranks = 1;
    std::int64_t attempt = 0;  // RunFolder::attempt(), the same on all ranks
    std::int64_t keep = 3;
    std::int64_t keep_every = 0;
    bool async = true;
  };
  explicit CheckpointWriter(Options options, FileSystem& files = posix_file_system());
  /// Waits for the background thread. An uncommitted save stays an ignored .partial.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Returns while a thread copies the pieces and writes them (async), or when this rank's files
  /// are durable or have failed. Buffers and what lies on a GPU are copied before it returns. Waits
  /// for an earlier commit; an earlier begin() must have been committed or abandoned. A disk
  /// without room for it fails the save before the first byte.
  void begin(const CheckpointState& state);
  /// Returns when the pieces given to begin() may change, which takes the time of a copy in memory.
  void wait_for_snapshot();
  /// From begin() to commit() or abandon(): the same on all ranks.
  bool is_pending() const;
  bool has_succeeded() const;  // this rank's files are durable
  bool has_failed() const;     // this rank's files could not be written
  /// Every rank calls it, once all have succeeded. Rank 0 writes the manifest, renames and removes
  /// old checkpoints: in the background if async.
  void commit();
  /// Every rank calls it when all have succeeded or failed and one has failed.
  void abandon();
  /// Returns when this rank's thread has nothing left to write.
  void wait();
  /// Why the last save was not kept, as far as this rank knows; empty if it was. Complete after
  /// wait(); rank 0 knows of every failure, and has logged it.
  std::string failure() const;

  struct Cost {
    double begin_s = 0.0;     // what the loop waited for at once
    double snapshot_s = 0.0;  // from then on until the pieces may change
    double write_s = 0.0;     // from then on, until durable
    std::uint64_t num_bytes = 0;
  };
  /// Of the last save that succeeded on this rank.
  Cost cost() const;

 private:
  enum class Stage { kIdle, kWriting, kSucceeded, kFailed, kCommitting };
  struct Snapshot;
  void describe(const CheckpointState& state);
  void save();
  void write_files();
  void publish();
  void tidy_up(const std::filesystem::path& replaced) const;
  void remove_old() const;
  void warn() const;
  void check_attempt() const;
  std::filesystem::path part_path(int rank) const;
  void start(Stage success, Stage failure, void (CheckpointWriter::*job)());

  Options options_;
  FileSystem& files_;
  std::int64_t sequence_ = 0;  // saves begun by this process, the same on all ranks
  std::unique_ptr<Snapshot> snapshot_;
  std::filesystem::path folder_, partial_;  // of the current save
  std::atomic<Stage> stage_{Stage::kIdle};
  std::atomic<bool> is_snapshot_taken_{true};
  std::string failure_;  // written before stage_, read after it
  Cost cost_;            // likewise
  std::thread thread_;
};

/// RUN/checkpoints, and the folder of a step in it.
std::filesystem::path checkpoints_folder(const std::filesystem::path& run_dir);
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_dir, std::int64_t step);

}  // namespace kiln
