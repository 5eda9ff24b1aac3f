#include "core/optimizer/flat_parameters.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kBlock = FlatParameters::kBlock;
// Every tensor begins at a multiple of 128 bytes in fp32 and 64 in bf16: whole cache lines.
constexpr std::int64_t kAlignment = 32;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Invariant 3 of the class.
std::int64_t place_after(std::int64_t end, std::int64_t numel) {
  const std::int64_t aligned = round_up(end, kAlignment);
  const bool fits = aligned % kBlock + numel <= kBlock;
  return numel < kBlock && fits ? aligned : round_up(end, kBlock);
}

void check_alike(const std::vector<Parameter>& parameters) {
  KILN_CHECK(!parameters.empty(), "a phase without parameters");
  const at::Tensor& first = parameters.front().tensor;
  KILN_CHECK(first.scalar_type() == at::kFloat || first.scalar_type() == at::kBFloat16,
             "parameter {} is neither fp32 nor bf16", parameters.front().name);
  std::set<std::string> names;
  for (const Parameter& parameter : parameters) {
    KILN_CHECK(names.insert(parameter.name).second, "two parameters named {}", parameter.name);
    KILN_CHECK(parameter.tensor.is_leaf(), "parameter {} is no leaf", parameter.name);
    KILN_CHECK(parameter.tensor.options().dtype() == first.options().dtype() &&
                   parameter.tensor.device() == first.device(),
               "parameters {} and {} differ in type or device", parameters.front().name,
               parameter.name);
  }
}

}  // namespace

FlatParameters::FlatParameters(std::vector<Parameter> parameters, std::int64_t bucket_bytes,
                               int ranks)
    : ranks_(ranks) {
  check_alike(parameters);
  std::reverse(parameters.begin(), parameters.end());
  const auto options = parameters.front().tensor.options().requires_grad(false);
  place(parameters, bucket_bytes / static_cast<std::int64_t>(options.dtype().itemsize()));

  weights_ = at::zeros({memory_.back().end}, options);
  gradients_ = at::zeros_like(weights_);
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const Range range{entry.offset, entry.offset + entry.numel};
    at::Tensor tensor = parameters[i].tensor;
    const at::Tensor home = weights(range).view(entry.shape);
    home.copy_(tensor);
    tensor.set_data(home);
    tensor.mutable_grad() = gradients(range).view(entry.shape);
    tensors_.push_back(tensor);
  }
}

void FlatParameters::place(const std::vector<Parameter>& parameters, std::int64_t bucket_elements) {
  buckets_.push_back({});
  for (const Parameter& parameter : parameters) {
    if (size_ - buckets_.back().range.begin >= bucket_elements && size_ > 0) {
      close_bucket();
      buckets_.push_back({.range = {size_, size_}, .entries = {}});
    }
    Entry entry;
    entry.name = parameter.name;
    entry.shape = parameter.tensor.sizes().vec();
    entry.numel = parameter.tensor.numel();
    entry.offset = place_after(size_, entry.numel);
    entry.bucket = buckets_.size() - 1;
    entry.has_decay = parameter.has_decay;
    entry.lr_scale = parameter.lr_scale;
    entry.bound = parameter.bound;
    entry.frozen_samples = parameter.frozen_samples;
    entry.first_sum = num_sums_;
    num_sums_ += entry.num_sums();
    size_ = entry.offset + entry.numel;
    buckets_.back().entries.push_back(entries_.size());
    entries_.push_back(std::move(entry));
  }
  close_bucket();
}

void FlatParameters::close_bucket() {
  size_ = round_up(size_, kBlock);
  Bucket& bucket = buckets_.back();
  bucket.range.end = size_;
  const std::int64_t begin = memory_.empty() ? 0 : memory_.back().end;
  memory_.push_back({begin, begin + round_up(bucket.range.size(), kBlock * ranks_)});
}

std::int64_t FlatParameters::memory_offset(Range range) const {
  const auto after =
      std::upper_bound(buckets_.begin(), buckets_.end(), range.begin,
                       [](std::int64_t begin, const Bucket& b) { return begin < b.range.begin; });
  // An empty range at the end of a bucket is also the begin of the next one; both are valid.
  const auto index = static_cast<std::size_t>(after - buckets_.begin() - 1);
  KILN_CHECK(range.begin >= 0 && range.size() >= 0 && range.end <= buckets_[index].range.end,
             "range [{}, {}) lies in no single bucket", range.begin, range.end);
  return memory_[index].begin + range.begin - buckets_[index].range.begin;
}

at::Tensor FlatParameters::weights(Range range) const {
  return weights_.narrow(0, memory_offset(range), range.size());
}

at::Tensor FlatParameters::gradients(Range range) const {
  return gradients_.narrow(0, memory_offset(range), range.size());
}

at::Tensor FlatParameters::bucket_weights(std::size_t index) const {
  return weights_.narrow(0, memory_.at(index).begin, memory_[index].size());
}

at::Tensor FlatParameters::bucket_gradients(std::size_t index) const {
  return gradients_.narrow(0, memory_.at(index).begin, memory_[index].size());
}

Range FlatParameters::slice(std::size_t index, int rank, int ranks) const {
  KILN_CHECK(ranks == ranks_, "flat parameters made for {} ranks, sliced for {}", ranks_, ranks);
  const Range bucket = buckets_.at(index).range;
  const std::int64_t part = memory_[index].size() / ranks;
  return {std::min(bucket.begin + rank * part, bucket.end),
          std::min(bucket.begin + (rank + 1) * part, bucket.end)};
}

std::vector<FlatParameters::Segment> FlatParameters::segments(Range range) const {
  KILN_CHECK(range.begin % kBlock == 0 && range.end % kBlock == 0, "range [{}, {}) cuts a block",
             range.begin, range.end);
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const std::int64_t begin = std::max(range.begin, entry.offset);
    const std::int64_t end = std::min(range.end, entry.offset + entry.numel);
    for (std::int64_t at = begin; at < end; at = round_up(at + 1, kBlock)) {
      const Range part{at, std::min(end, round_up(at + 1, kBlock))};
      segments.push_back({i, part, entry.first_sum + (at - entry.offset) / kBlock});
    }
  }
  return segments;
}

void FlatParameters::zero_gradients() { gradients_.zero_(); }

void FlatParameters::require_gradients(bool required) {
  for (at::Tensor& tensor : tensors_) tensor.requires_grad_(required);
}

}  // namespace kiln
