#include "core/training/training_phase.h"

#include <cmath>
#include <numeric>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

bool is_bf16(const at::Tensor& tensor) { return tensor.scalar_type() == at::kBFloat16; }

at::Tensor part(const at::Tensor& tensor, std::int64_t offset, Range elements) {
  return tensor.narrow(0, offset, elements.size());
}

}  // namespace

TrainingPhase::TrainingPhase(std::string name, std::vector<Parameter> parameters,
                             const Options& options, const MakeExchange& make_exchange,
                             Communicator& communicator)
    : name_(std::move(name)),
      options_(options),
      optimizer_(options.optimizer),
      communicator_(communicator),
      flat_(std::make_unique<FlatParameters>(std::move(parameters), options.bucket_bytes,
                                             communicator.size())),
      exchange_(make_exchange(*flat_)) {
  std::int64_t num_owned = 0;
  for (const Range range : exchange_->owned()) {
    Slice slice;
    slice.range = range;
    slice.segments = flat_->segments(range);
    slice.weights = flat_->weights(range);
    slice.master = slice.weights.to(at::kFloat);  // of fp32 weights: the same memory
    for (std::size_t i = 0; i < optimizer_.moment_names().size(); ++i) {
      slice.moments.push_back(at::zeros_like(slice.master));
    }
    if (options_.has_ema) slice.ema = slice.master.clone();
    num_owned += range.size();
    slices_.push_back(std::move(slice));
  }
  KILN_CHECK(options_.is_sharded || num_owned == flat_->size(),
             "the exchange leaves this rank {} of {} elements", num_owned, flat_->size());
  for (const auto& entry : flat_->entries()) has_frozen_ |= entry.frozen_samples > 0;
  num_frozen_.resize(flat_->entries().size());
}

double TrainingPhase::gradient_norm() {
  BlockSums squares(*flat_, 1);
  for (const Slice& slice : slices_) add_squares(slice, exchange_->gradient(slice.range), squares);
  if (options_.is_sharded) communicator_.all_reduce(squares.table()).wait();
  squares_ = squares.by_entry(0);
  return std::sqrt(std::accumulate(squares_.begin(), squares_.end(), 0.0));
}

void TrainingPhase::update(const Update& update) {
  KILN_CHECK(std::isfinite(update.norm), "gradient of 2-norm {}", update.norm);
  StepScalars scalars;
  scalars.lr = update.lr;
  scalars.update = ++num_updates_;
  scalars.weight_decay = update.weight_decay;
  scalars.ema_decay = update.ema_decay;
  std::vector<double> factors;
  if (options_.clips_tensors) {
    factors = clip_factors();
    scalars.gradient_scales = factors;
  } else {
    scalars.gradient_scale = clip_factor(update.norm, options_.clip_norm);
  }
  std::vector<std::int64_t> own;
  if (has_frozen_) {
    own = own_updates(update.samples_seen);
    scalars.updates = own;
  }
  const std::vector<double> ratios = trust_ratios(scalars);
  optimizer_.step(slices_, gradients(), *flat_, scalars, ratios);
  exchange_->share_weights();
}

std::vector<double> TrainingPhase::clip_factors() const {
  std::vector<double> factors;
  for (const double square : squares_) {
    factors.push_back(clip_factor(std::sqrt(square), options_.clip_norm));
  }
  return factors;
}

/// Of this update, by entry: its number, 0 for those that are frozen.
std::vector<std::int64_t> TrainingPhase::own_updates(std::int64_t samples_seen) {
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < num_frozen_.size(); ++i) {
    const bool is_frozen = samples_seen < flat_->entries()[i].frozen_samples;
    if (is_frozen) num_frozen_[i] = num_updates_;
    numbers.push_back(num_updates_ - num_frozen_[i]);
  }
  return numbers;
}

std::vector<at::Tensor> TrainingPhase::state() const {
  std::vector<at::Tensor> tensors;
  for (const Slice& slice : slices_) {
    tensors.push_back(slice.master);
    if (slice.ema.defined()) tensors.push_back(slice.ema);
    tensors.insert(tensors.end(), slice.moments.begin(), slice.moments.end());
  }
  return tensors;
}

void TrainingPhase::keep() {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> now = state();
  if (kept_.state.empty()) {
    for (const at::Tensor& tensor : now) kept_.state.push_back(at::empty_like(tensor));
  }
  for (std::size_t i = 0; i < now.size(); ++i) kept_.state[i].copy_(now[i]);
  kept_.num_updates = num_updates_;
  kept_.num_frozen = num_frozen_;
}

void TrainingPhase::undo() {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> now = state();
  for (std::size_t i = 0; i < now.size(); ++i) now[i].copy_(kept_.state[i]);
  num_updates_ = kept_.num_updates;
  num_frozen_ = kept_.num_frozen;
  copy_master_to_weights();
}

void TrainingPhase::take_weights() {
  const at::NoGradGuard no_grad;
  for (const Slice& slice : slices_) {
    if (is_bf16(slice.weights)) slice.master.copy_(slice.weights);
    if (slice.ema.defined()) slice.ema.copy_(slice.master);
  }
}

std::vector<at::Tensor> TrainingPhase::gradients() {
  std::vector<at::Tensor> gradients;
  for (const Slice& slice : slices_) gradients.push_back(exchange_->gradient(slice.range));
  return gradients;
}

std::vector<double> TrainingPhase::trust_ratios(const StepScalars& scalars) {
  if (!optimizer_.has_trust_ratio()) return {};
  BlockSums norms(*flat_, 2);
  optimizer_.prepare(slices_, gradients(), *flat_, scalars, norms);
  if (options_.is_sharded) communicator_.all_reduce(norms.table()).wait();
  return optimizer_.trust_ratios(*flat_, scalars, norms);
}

std::vector<TrainingPhase::Run> TrainingPhase::runs(std::int64_t index, std::int64_t parts) const {
  std::int64_t total = 0;
  for (const Slice& slice : slices_) total += static_cast<std::int64_t>(slice.segments.size());
  const Range share = share_of(total, index, parts);

  std::vector<Run> runs;
  std::int64_t number = 0;
  for (std::size_t s = 0; s < slices_.size(); ++s) {
    for (const auto& segment : slices_[s].segments) {
      const std::int64_t at = number++;
      if (at < share.begin || at >= share.end) continue;
      const std::int64_t first = flat_->entries()[segment.entry].offset;
      const Range elements{segment.range.begin - first, segment.range.end - first};
      const bool continues = !runs.empty() && runs.back().slice == s &&
                             runs.back().entry == segment.entry &&
                             runs.back().elements.end == elements.begin;
      if (continues) {
        runs.back().elements.end = elements.end;
      } else {
        runs.push_back({s, segment.entry, elements, segment.range.begin - slices_[s].range.begin});
      }
    }
  }
  return runs;
}

at::Tensor TrainingPhase::master(Range range) const {
  for (const Slice& slice : slices_) {
    if (slice.range.begin <= range.begin && range.end <= slice.range.end) {
      return part(slice.master, range.begin - slice.range.begin, range);
    }
  }
  KILN_CHECK(false, "range [{}, {}) lies in no single slice of this rank", range.begin, range.end);
  return {};
}

void TrainingPhase::add_pieces(CheckpointState& state) const {
  state.extra["updates/" + name_] = num_updates_;
  for (std::size_t i = 0; i < num_frozen_.size(); ++i) {
    if (num_frozen_[i] > 0) state.extra["frozen/" + flat_->entries()[i].name] = num_frozen_[i];
  }
  const bool sharded = options_.is_sharded;  // then all a rank has is its own to save
  for (const Run& run :
       runs(sharded ? 0 : communicator_.rank(), sharded ? 1 : communicator_.size())) {
    const Slice& slice = slices_[run.slice];
    const auto& entry = flat_->entries()[run.entry];
    const auto piece = [&](const std::string& prefix, const at::Tensor& tensor) {
      return Piece{prefix + entry.name, entry.shape, run.elements,
                   part(tensor, run.offset, run.elements)};
    };
    state.weights.push_back(piece("", slice.master));
    if (options_.has_ema) state.weights.push_back(piece("ema/", slice.ema));
    for (std::size_t i = 0; i < slice.moments.size(); ++i) {
      state.optimizer.push_back(piece(optimizer_.moment_names()[i] + "/", slice.moments[i]));
    }
  }
}

void TrainingPhase::load(const ReadPiece& read, bool weights_only) {
  const at::NoGradGuard no_grad;
  for (const Run& run : runs(0, 1)) {
    Slice& slice = slices_[run.slice];
    const std::string& name = flat_->entries()[run.entry].name;
    const auto take = [&](const std::string& full_name, const at::Tensor& into) {
      part(into, run.offset, run.elements).copy_(read(full_name, run.elements));
    };
    take(name, slice.master);
    if (options_.has_ema) take(weights_only ? name : "ema/" + name, slice.ema);
    for (std::size_t i = 0; i < slice.moments.size() && !weights_only; ++i) {
      take(optimizer_.moment_names()[i] + "/" + name, slice.moments[i]);
    }
  }
  copy_master_to_weights();
}

void TrainingPhase::load_counts(const std::map<std::string, std::int64_t>& extra) {
  num_updates_ = extra.at("updates/" + name_);
  for (std::size_t i = 0; i < num_frozen_.size(); ++i) {
    const auto found = extra.find("frozen/" + flat_->entries()[i].name);
    num_frozen_[i] = found == extra.end() ? 0 : found->second;
  }
}

void TrainingPhase::copy_master_to_weights() {
  for (const Slice& slice : slices_) {
    if (is_bf16(slice.weights)) slice.weights.copy_(slice.master);
  }
  exchange_->share_weights();
}

// In fp32 weights and master are one memory, so average and master change places and change back;
// in bf16 the weights are a rounded copy of either.
void TrainingPhase::swap_in_average() {
  KILN_CHECK(options_.has_ema, "phase {} has no moving average", name_);
  const at::NoGradGuard no_grad;
  for (const Slice& slice : slices_) {
    if (is_bf16(slice.weights)) {
      slice.weights.copy_(slice.ema);
    } else {
      const at::Tensor kept = slice.master.clone();
      slice.master.copy_(slice.ema);
      slice.ema.copy_(kept);
    }
  }
  exchange_->share_weights();
}

void TrainingPhase::swap_out_average() {
  const at::NoGradGuard no_grad;
  if (!slices_.empty() && is_bf16(slices_.front().weights)) return copy_master_to_weights();
  swap_in_average();
}

void TrainingPhase::add_digests(std::map<std::string, Digest>& digests) const {
  for (std::size_t i = 0; i < flat_->entries().size(); ++i) {
    const at::Tensor master = whole_master(i);
    digests[flat_->entries()[i].name] =
        hash_bytes(master.data_ptr(), static_cast<std::size_t>(master.numel()) * sizeof(float));
  }
}

at::Tensor TrainingPhase::whole_master(std::size_t index) const {
  const auto& entry = flat_->entries()[index];
  const Range range{entry.offset, entry.offset + entry.numel};
  const at::Tensor weights = flat_->weights(range);
  if (!is_bf16(weights)) return weights.cpu();
  // Bits travel as integers: adding zeros to a float would turn -0 into +0.
  at::Tensor bits = at::zeros({entry.numel}, at::kLong);
  for (const Run& run : runs(0, 1)) {
    if (run.entry != index) continue;
    part(bits, run.elements.begin, run.elements)
        .copy_(part(slices_[run.slice].master, run.offset, run.elements).view(at::kInt));
  }
  if (options_.is_sharded) communicator_.all_reduce(bits).wait();
  return bits.to(at::kInt).view(at::kFloat);
}

}  // namespace kiln
