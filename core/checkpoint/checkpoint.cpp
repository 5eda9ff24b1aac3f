#include "core/checkpoint/checkpoint.h"

#include <ATen/ops/empty.h>

#include <chrono>
#include <cstring>

#include "core/checkpoint/checkpoint_manifest.h"
#include "core/checkpoint/checkpoint_reader.h"
#include "core/checkpoint/run_folder.h"
#include "core/checkpoint/safetensors.h"
#include "core/report/log.h"
#include "core/report/progress_bar.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

fs::path with_suffix(const fs::path& path, const char* suffix) {
  return fs::path(path.string() + suffix);
}

TensorKind kind_of(const Piece& piece) {
  if (piece.name.rfind("ema/", 0) == 0) return TensorKind::kEma;
  if (piece.name.rfind("buffer/", 0) == 0) return TensorKind::kBuffer;
  return TensorKind::kWeight;
}

void check_piece(const Piece& piece, std::int64_t numel) {
  KILN_CHECK(piece.name.find('@') == std::string::npos, "'{}'", piece.name);
  KILN_CHECK(piece.data.dim() == 1 && piece.data.is_contiguous() &&
                 piece.data.numel() == piece.elements.size(),
             "piece of '{}'", piece.name);
  KILN_CHECK(0 <= piece.elements.begin && piece.elements.end <= numel, "piece of '{}'", piece.name);
}

void write_durably(FileSystem& files, const fs::path& path, const std::string& text) {
  const auto file = files.create(path);
  file->write(text.data(), text.size());
  file->sync();
}

}  // namespace

/// What write_files() works on while the loop goes on changing the weights.
struct CheckpointWriter::Snapshot {
  struct Copy {
    at::Tensor from, to;
  };
  struct File {
    std::string name;
    std::vector<std::pair<std::string, at::Tensor>> tensors;  // in their shape, on the host
    std::vector<at::Tensor> memory;  // kept from save to save: fresh pages would cost as much again
  };
  File weights, optimizer;
  std::vector<Copy> copies;     // left to the thread
  CheckpointManifest manifest;  // of this rank's pieces
  std::uint64_t num_bytes = 0;

  void add(File& file, const Piece& piece, TensorKind kind, bool is_async) {
    CheckpointManifest::Tensor tensor{
        kind, safetensors_dtype(piece.data.scalar_type()), piece.shape, {}};
    const std::int64_t numel = tensor.numel();
    check_piece(piece, numel);
    if (piece.elements.size() == 0 && numel > 0) return;
    tensor.pieces.push_back({file.name, piece.elements});
    const bool is_whole = piece.elements == Range{0, numel};
    at::Tensor data = piece.data;
    if (is_async || !data.device().is_cpu()) {
      data = memory_for(file, piece.data);
      // A forward pass may change buffers, and a GPU's memory is copied in its stream's order.
      const bool is_later = is_async && kind != TensorKind::kBuffer && piece.data.is_cpu();
      if (is_later) copies.push_back({piece.data, data});
      if (!is_later) data.copy_(piece.data);
    }
    file.tensors.emplace_back(piece_key(piece.name, piece.elements, numel),
                              is_whole ? data.view(piece.shape) : data);
    num_bytes += data.nbytes();
    CheckpointManifest one;
    one.tensors.emplace(piece.name, std::move(tensor));
    manifest.merge(one);
  }

  static at::Tensor memory_for(File& file, const at::Tensor& data) {
    const std::size_t index = file.tensors.size();
    if (file.memory.size() <= index) file.memory.resize(index + 1);
    at::Tensor& memory = file.memory[index];
    if (!memory.defined() || memory.numel() != data.numel() || memory.dtype() != data.dtype())
      memory = at::empty(data.sizes(), data.options().device(at::kCPU));
    return memory;
  }

  void copy_pieces() {
    for (const Copy& copy : copies) {
      if (copy.from.nbytes() == 0) continue;  // there may be no memory for a copy
      std::memcpy(copy.to.mutable_data_ptr(), copy.from.const_data_ptr(), copy.from.nbytes());
    }
    copies.clear();
  }
};

fs::path checkpoints_folder(const fs::path& run_dir) { return run_dir / "checkpoints"; }

fs::path checkpoint_folder(const fs::path& run_dir, std::int64_t step) {
  return checkpoints_folder(run_dir) / fmt::format("step-{:09}", step);
}

CheckpointWriter::CheckpointWriter(Options options, FileSystem& files)
    : options_(std::move(options)), files_(files), snapshot_(std::make_unique<Snapshot>()) {
  snapshot_->weights.name = fmt::format("weights-{:05}.safetensors", options_.rank);
  snapshot_->optimizer.name = fmt::format("optimizer-{:05}.safetensors", options_.rank);
}

CheckpointWriter::~CheckpointWriter() { wait(); }

void CheckpointWriter::begin(const CheckpointState& state) {
  wait();
  KILN_CHECK(!is_pending(), "the save before was neither committed nor abandoned");
  const auto began = Clock::now();
  failure_.clear();
  ++sequence_;
  folder_ = checkpoint_folder(options_.run_dir, state.step);
  partial_ = with_suffix(folder_, ".partial");
  describe(state);
  cost_ = {seconds_since(began), 0.0, 0.0, snapshot_->num_bytes};
  stage_ = Stage::kWriting;
  is_snapshot_taken_ = false;
  start(Stage::kSucceeded, Stage::kFailed, &CheckpointWriter::save);
}

void CheckpointWriter::wait_for_snapshot() { is_snapshot_taken_.wait(false); }

void CheckpointWriter::describe(const CheckpointState& state) {
  Snapshot& snapshot = *snapshot_;
  snapshot.weights.tensors.clear();
  snapshot.optimizer.tensors.clear();
  snapshot.copies.clear();
  snapshot.num_bytes = 0;
  snapshot.manifest = {};
  snapshot.manifest.step = state.step;
  snapshot.manifest.samples_seen = state.samples_seen;
  snapshot.manifest.attempt = options_.attempt;
  snapshot.manifest.ranks = options_.ranks;
  snapshot.manifest.recipe_hash = state.recipe_hash;
  snapshot.manifest.dataset_fingerprint = state.dataset_fingerprint;
  snapshot.manifest.identity = state.identity;
  snapshot.manifest.environment = state.environment;
  snapshot.manifest.extra = state.extra;
  for (const Piece& piece : state.weights)
    snapshot.add(snapshot.weights, piece, kind_of(piece), options_.async);
  for (const Piece& piece : state.optimizer)
    snapshot.add(snapshot.optimizer, piece, TensorKind::kOptimizer, options_.async);
}

void CheckpointWriter::start(Stage success, Stage failure, void (CheckpointWriter::*job)()) {
  const auto run = [this, success, failure, job] {
    try {
      (this->*job)();
      stage_ = success;
    } catch (const std::exception& error) {
      failure_ = error.what();
      if (failure == Stage::kIdle)
        warn();  // a commit failed; the loop would learn of it only at the end
      stage_ = failure;
    }
  };
  if (options_.async)
    thread_ = std::thread(run);
  else
    run();
}

void CheckpointWriter::save() {
  const auto began = Clock::now();
  snapshot_->copy_pieces();
  cost_.snapshot_s = seconds_since(began);
  is_snapshot_taken_ = true;
  is_snapshot_taken_.notify_all();
  write_files();
}

void CheckpointWriter::write_files() {
  const auto began = Clock::now();
  Snapshot& snapshot = *snapshot_;
  check_attempt();
  files_.create_directories(partial_);
  // Every rank asks on its own: shares are about equal, and the answer costs no message.
  const std::uint64_t needed =
      snapshot.num_bytes * static_cast<std::uint64_t>(options_.ranks) + (std::uint64_t{1} << 20);
  const std::uint64_t available = files_.free_bytes(partial_);
  if (available < needed)
    throw checkpoint_error(
        "no room for a checkpoint in {}: {} free, about {} needed", partial_.parent_path().string(),
        format_bytes(static_cast<double>(available)), format_bytes(static_cast<double>(needed)));
  for (const auto* file : {&snapshot.weights, &snapshot.optimizer})
    if (!file->tensors.empty())
      snapshot.manifest.files[file->name] =
          write_safetensors(partial_ / file->name, file->tensors, {}, files_);
  write_durably(files_, part_path(options_.rank), snapshot.manifest.to_text());
  files_.sync_directory(partial_);  // rank 0 does so too, but perhaps from another host
  cost_.write_s = seconds_since(began);
}

/// The name contains attempt and save, so that a file of another save is never taken for one of
/// this save.
fs::path CheckpointWriter::part_path(int rank) const {
  return partial_ / fmt::format("part-{}-{}-{:05}.json", options_.attempt, sequence_, rank);
}

bool CheckpointWriter::is_pending() const {
  const Stage stage = stage_;
  return stage != Stage::kIdle && stage != Stage::kCommitting;
}
bool CheckpointWriter::has_succeeded() const { return stage_ == Stage::kSucceeded; }
bool CheckpointWriter::has_failed() const { return stage_ == Stage::kFailed; }

std::string CheckpointWriter::failure() const {
  const Stage stage = stage_;
  return stage == Stage::kWriting || stage == Stage::kCommitting ? "" : failure_;
}

CheckpointWriter::Cost CheckpointWriter::cost() const {
  return stage_ == Stage::kWriting ? Cost{} : cost_;
}

void CheckpointWriter::wait() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointWriter::commit() {
  wait();
  KILN_CHECK(has_succeeded(), "commit() of a save that did not succeed");
  if (options_.rank != 0) {
    stage_ = Stage::kIdle;
    return;
  }
  stage_ = Stage::kCommitting;
  start(Stage::kIdle, Stage::kIdle, &CheckpointWriter::publish);
}

void CheckpointWriter::abandon() {
  wait();
  KILN_CHECK(is_pending(), "abandon() without begin()");
  if (failure_.empty()) failure_ = "another rank could not write its part, see RUN/ranks/*.log";
  warn();
  stage_ = Stage::kIdle;
  if (options_.rank != 0) return;
  try {
    files_.remove_all(partial_);
  } catch (const Error& error) {  // nothing reads it, and the next start tries again
    log_warning("{}", error.what());
  }
}

void CheckpointWriter::warn() const {
  log_warning("the checkpoint of step {} was not saved: {}", snapshot_->manifest.step, failure_);
}

void CheckpointWriter::check_attempt() const {
  const std::int64_t newest = read_attempt(options_.run_dir);
  if (newest > options_.attempt)
    throw checkpoint_error(
        "{} was taken over by a newer start (attempt {}, this is {}): nothing is saved any more",
        options_.run_dir.string(), newest, options_.attempt);
}

void CheckpointWriter::publish() {
  check_attempt();
  CheckpointManifest& manifest = snapshot_->manifest;
  for (int rank = 1; rank < options_.ranks; ++rank)
    manifest.merge(
        CheckpointManifest::parse(read_text_file(part_path(rank)), part_path(rank).string()));
  manifest.check_coverage(partial_.string());
  for (int rank = 0; rank < options_.ranks; ++rank) files_.remove_all(part_path(rank));
  check_files(partial_, manifest);
  write_durably(files_, partial_ / kManifestName, manifest.to_text());
  files_.sync_directory(partial_);

  check_attempt();
  const fs::path replaced = with_suffix(folder_, ".replaced");
  if (fs::exists(folder_)) {  // saved before, and damaged since or resumed from
    files_.remove_all(replaced);
    files_.rename(folder_, replaced);
    files_.sync_directory(folder_.parent_path());
  }
  files_.rename(partial_, folder_);
  files_.sync_directory(folder_.parent_path());
  tidy_up(replaced);
}

/// Keeps the newest `keep` readable checkpoints up to the one just saved, those of keep_every, and
/// whatever is newer: a damaged one there must not push out what a resume needs.
void CheckpointWriter::remove_old() const {
  std::int64_t num_kept = 0;
  for (const auto& [step, path] : list_checkpoint_folders(options_.run_dir)) {
    if (step > snapshot_->manifest.step) continue;
    const bool is_kept = num_kept < std::max<std::int64_t>(options_.keep, 1);
    if (is_kept && is_readable(path)) ++num_kept;
    if (is_kept || (options_.keep_every > 0 && step % options_.keep_every == 0)) continue;
    const fs::path removed = with_suffix(path, ".removed");
    files_.rename(path, removed);  // in one go, so that half of one is never found
    files_.remove_all(removed);
  }
}

/// A folder that cannot be removed only takes space. The save itself is complete.
void CheckpointWriter::tidy_up(const fs::path& replaced) const {
  try {
    files_.remove_all(replaced);
    remove_old();
  } catch (const Error& error) {
    log_warning("an old checkpoint was not removed: {}", error.what());
  }
}

}  // namespace kiln
