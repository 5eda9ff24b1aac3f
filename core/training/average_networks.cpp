#include "core/training/average_networks.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/device/in_parallel.h"
#include "core/optimizer/optimizer_kernels.h"
#include "core/torch.h"

namespace kiln {
namespace {

constexpr std::int64_t kGrain = 65'536;

/// Elements of an entry that rank `rank` of `ranks` has master weights of.
Range owned_elements(const FlatParameters& flat, std::size_t index, int rank, int ranks) {
  const FlatParameters::Entry& entry = flat.entries()[index];
  const Range slice = flat.slice(entry.bucket, rank, ranks);
  const std::int64_t begin = std::max(slice.begin - entry.offset, std::int64_t{0});
  const std::int64_t end = std::min(slice.end - entry.offset, entry.numel);
  return begin < end ? Range{begin, end} : Range{};
}

at::Tensor part(const at::Tensor& tensor, Range elements) {
  return tensor.view({-1}).narrow(0, elements.begin, elements.size());
}

void move_on_host(const at::Tensor& source, const at::Tensor& average, const at::Tensor& target,
                  float rate) {
  const float* from = source.const_data_ptr<float>();
  float* to = average.data_ptr<float>();
  auto* copy = target.scalar_type() == at::kBFloat16
                   ? static_cast<std::uint16_t*>(target.data_ptr())
                   : nullptr;
  in_parallel(average.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    move_average(from + begin, to + begin, copy ? copy + begin : nullptr, end - begin, rate);
  });
}

}  // namespace

AverageNetworks::AverageNetworks(std::vector<Average> averages,
                                 const std::vector<TrainingPhase*>& phases, bool is_sharded,
                                 Communicator& communicator)
    : is_sharded_(is_sharded), communicator_(communicator) {
  std::map<const void*, Source> sources;
  for (std::size_t p = 0; p < phases.size(); ++p) {
    const auto& tensors = phases[p]->flat().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      sources[tensors[i].unsafeGetTensorImpl()] = {p, i};
    }
  }
  for (Average& average : averages) {
    Network network;
    network.phases.resize(phases.size());
    if (is_sharded) network.targets_by_rank.resize(static_cast<std::size_t>(communicator.size()));
    for (Average::Pair& pair : average.pairs) {
      KILN_CHECK(pair.source.sizes() == pair.target.sizes() &&
                     pair.source.scalar_type() == pair.target.scalar_type() &&
                     pair.target.is_contiguous(),
                 "average {}: target {} is not like its source", average.name, pair.name);
      pair.target.set_requires_grad(false);
      add_pair(network, {average.name + "/" + pair.name, pair.source, pair.target}, sources,
               phases);
    }
    network.average = std::move(average);
    networks_.push_back(std::move(network));
  }
  copy_sources();
}

void AverageNetworks::add_pair(Network& network, const Average::Pair& pair,
                               const std::map<const void*, Source>& sources,
                               const std::vector<TrainingPhase*>& phases) {
  const at::Tensor target = pair.target.detach();
  const auto found = sources.find(pair.source.unsafeGetTensorImpl());
  Part made{.name = pair.name,
            .shape = target.sizes().vec(),
            .elements = {0, target.numel()},
            .is_moving = found != sources.end()};
  const bool is_fp32 = target.scalar_type() == at::kFloat;
  if (made.is_moving) network.phases[found->second.phase] = true;
  if (is_fp32 || !made.is_moving) {  // fp32 weights are masters, and every rank has all of them
    made.source = pair.source.detach().view({-1});
  } else {
    const auto [phase, index] = found->second;
    const FlatParameters& flat = phases[phase]->flat();
    const int ranks = communicator_.size();
    for (int rank = 0; is_sharded_ && rank < ranks; ++rank) {
      network.targets_by_rank[static_cast<std::size_t>(rank)].push_back(
          part(target, owned_elements(flat, index, rank, ranks)));
    }
    made.is_split = is_sharded_;
    if (is_sharded_) made.elements = owned_elements(flat, index, communicator_.rank(), ranks);
    if (made.elements.size() == 0) return;
    const std::int64_t first = flat.entries()[index].offset;
    made.source = phases[phase]->master({first + made.elements.begin, first + made.elements.end});
  }
  made.target = part(target, made.elements);
  made.average = is_fp32 ? made.target : made.target.to(at::kFloat);
  network.parts.push_back(std::move(made));
}

void AverageNetworks::copy_sources() {
  const at::NoGradGuard no_grad;
  for (const Network& network : networks_) {
    for (const Part& p : network.parts) {
      p.average.copy_(p.source);
      if (!p.target.is_same(p.average)) p.target.copy_(p.average);
    }
    share(network);
  }
}

double AverageNetworks::decay_of(const Average& average,
                                 const std::map<std::string, double>& values) const {
  if (average.schedule.empty()) return average.decay;
  const auto found = values.find(average.schedule);
  KILN_CHECK(found != values.end(), "average {} has no schedule '{}'", average.name,
             average.schedule);
  return found->second;
}

void AverageNetworks::update(const std::vector<bool>& updated,
                             const std::map<std::string, double>& now,
                             const std::map<std::string, double>& next) {
  const at::NoGradGuard no_grad;
  for (const Network& network : networks_) {
    bool is_due = false;
    for (std::size_t p = 0; p < updated.size(); ++p) is_due |= network.phases[p] && updated[p];
    if (!is_due) continue;
    const Average& average = network.average;
    const double decay = decay_of(average, average.is_for_next_step ? next : now);
    move(network, static_cast<float>(1.0 - decay));
    share(network);
  }
}

void AverageNetworks::move(const Network& network, float rate) {
  std::vector<at::Tensor> sources, averages, targets;
  for (const Part& p : network.parts) {
    if (!p.is_moving) continue;
    if (p.average.is_cpu()) {
      move_on_host(p.source, p.average, p.target, rate);
      continue;
    }
    sources.push_back(p.source);
    averages.push_back(p.average);
    if (!p.target.is_same(p.average)) targets.push_back(p.target);
  }
  if (averages.empty()) return;
  at::_foreach_lerp_(averages, sources, rate);
  if (!targets.empty()) at::_foreach_copy_(targets, averages);
}

/// Every rank sends the targets it has computed; the shorter lists are padded.
void AverageNetworks::share(const Network& network) {
  if (network.targets_by_rank.empty() || network.targets_by_rank[0].empty()) return;
  std::int64_t longest = 0;
  for (const auto& targets : network.targets_by_rank) {
    std::int64_t count = 0;
    for (const at::Tensor& target : targets) count += target.numel();
    longest = std::max(longest, count);
  }
  const auto own = static_cast<std::size_t>(communicator_.rank());
  const at::Tensor sent = at::zeros({longest}, network.targets_by_rank[own][0].options());
  const at::Tensor all = at::empty({communicator_.size() * longest}, sent.options());
  const at::Tensor list = at::cat(network.targets_by_rank[own]);
  sent.narrow(0, 0, list.numel()).copy_(list);
  communicator_.all_gather(sent, all).wait();
  for (std::size_t rank = 0; rank < network.targets_by_rank.size(); ++rank) {
    std::int64_t at = static_cast<std::int64_t>(rank) * longest;
    std::vector<at::Tensor> into, from;
    for (const at::Tensor& target : network.targets_by_rank[rank]) {
      if (rank != own && target.numel() > 0) {
        into.push_back(target);
        from.push_back(all.narrow(0, at, target.numel()));
      }
      at += target.numel();
    }
    if (!into.empty()) at::_foreach_copy_(into, from);
  }
}

void AverageNetworks::add_pieces(CheckpointState& state) const {
  std::int64_t number = 0;
  for (const Network& network : networks_) {
    for (const Part& p : network.parts) {
      // What every rank has, one of them saves, in turn.
      const bool is_own = p.is_split || number++ % communicator_.size() == communicator_.rank();
      if (is_own) state.weights.push_back({"buffer/" + p.name, p.shape, p.elements, p.average});
    }
  }
}

void AverageNetworks::load(const ReadPiece& read) {
  const at::NoGradGuard no_grad;
  for (const Network& network : networks_) {
    for (const Part& p : network.parts) {
      p.average.copy_(read("buffer/" + p.name, p.elements).view({-1}));
      if (!p.target.is_same(p.average)) p.target.copy_(p.average);
    }
    share(network);
  }
}

}  // namespace kiln
