#include <algorithm>
#include <chrono>

#include "core/on_all_ranks.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "launch/doctor/doctor.h"

// Checks that ranks can only make together.

namespace kiln {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMostSkew_s = 2.0;
constexpr std::int64_t kMessageBytes = 1 << 20;
constexpr int kMostShifts = 8;  // partners of each rank that are measured
constexpr int kMessages = 4;
constexpr double kSlow = 4.0;  // times slower than the median: an outlier

/// At most so many bytes are sent; the error names only two identities that differ.
void compare(World& world, const std::string& name, const std::string& value,
             const std::string& remedy, ExitCode code, std::vector<Finding>& findings) {
  const std::vector<std::string> all = gather_texts(world.communicator(), value);
  Finding finding{name, "", remedy, code};
  for (int rank = 0; rank < world.size(); ++rank) {
    if (all[static_cast<std::size_t>(rank)] != all[0]) finding.ranks.push_back(rank);
  }
  if (finding.ranks.empty()) return;
  finding.what = fmt::format("rank {} has another {} than rank 0", finding.ranks.front(), name);
  findings.push_back(std::move(finding));
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Seconds this rank needs to exchange a message with the rank `shift` further on, in both
/// directions at once; the best of a few.
double seconds_of_shift(World& world, int shift) {
  const int size = world.size();
  const at::Tensor out = at::ones({kMessageBytes / 4}), in = at::zeros({kMessageBytes / 4});
  const int to = (world.rank() + shift) % size, from = (world.rank() + size - shift) % size;
  double best = 1e9;
  for (int i = 0; i < kMessages; ++i) {
    world.communicator().barrier();
    const auto start = Clock::now();
    world.communicator()
        .exchange(
            {{Transfer::Direction::kSend, out, to}, {Transfer::Direction::kReceive, in, from}})
        .wait();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace

std::vector<Finding> check_ranks_agree(World& world, const TrainingSetup* setup) {
  std::vector<Finding> findings;
  compare(world, "program", program_hash(),
          "install the same build on every host, best in a shared folder", ExitCode::kUsage,
          findings);
  if (setup) {
    compare(world, "dataset", setup->data.info.fingerprint,
            "copy the dataset again, or read it from a shared folder ('kiln data verify' tells "
            "which copy is damaged)",
            ExitCode::kData, findings);
    compare(world, "recipe", setup->recipe_hash(),
            "start all ranks with the same recipe file and the same overrides", ExitCode::kUsage,
            findings);
  }
  return findings;
}

std::vector<Finding> check_clocks(World& world) {
  world.communicator().barrier();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const at::Tensor own = at::full({1}, std::chrono::duration<double>(now).count(), at::kDouble);
  const at::Tensor all = at::zeros({world.size()}, at::kDouble);
  world.communicator().all_gather(own, all).wait();
  const auto* seconds = all.const_data_ptr<double>();
  const double middle = median({seconds, seconds + world.size()});
  Finding finding{"clock", "", "synchronise the hosts' clocks (chrony, systemd-timesyncd)"};
  for (int rank = 0; rank < world.size(); ++rank) {
    const double skew = seconds[rank] - middle;
    if (std::abs(skew) < kMostSkew_s) continue;
    finding.ranks.push_back(rank);
    if (finding.what.empty()) {
      finding.what = fmt::format("the clock of rank {} on {} is {:.0f} s {} the others'", rank,
                                 world.hosts()[static_cast<std::size_t>(rank)], std::abs(skew),
                                 skew > 0 ? "ahead of" : "behind");
    }
  }
  if (finding.ranks.empty()) return {};
  return {finding};
}

/// A rank counts as slow when all its exchanges are slow, so that a slow partner alone does not
/// count. Two ranks cannot be compared.
std::vector<Finding> check_bandwidth(World& world) {
  if (world.size() < 3) return {};
  const int shifts = std::min(world.size() - 1, kMostShifts);
  const at::Tensor own = at::zeros({shifts}, at::kDouble);
  for (int shift = 1; shift <= shifts; ++shift) own[shift - 1] = seconds_of_shift(world, shift);
  const at::Tensor all = at::zeros({world.size() * shifts}, at::kDouble);
  world.communicator().all_gather(own, all).wait();
  const auto* seconds = all.const_data_ptr<double>();
  std::vector<double> best;
  for (int rank = 0; rank < world.size(); ++rank) {
    best.push_back(*std::min_element(seconds + rank * shifts, seconds + (rank + 1) * shifts));
  }
  const double middle = median(best);
  Finding finding{
      "bandwidth", "",
      "look at that host: link speed (ethtool, ibstat), cable, other jobs, throttling; or "
      "leave it out"};
  for (int rank = 0; rank < world.size(); ++rank) {
    const double value = best[static_cast<std::size_t>(rank)];
    if (value < kSlow * middle || value < 0.01) continue;
    finding.ranks.push_back(rank);
    if (finding.what.empty()) {
      finding.what =
          fmt::format("rank {} on {} exchanges {}/s, the median rank {}/s", rank,
                      world.hosts()[static_cast<std::size_t>(rank)],
                      format_bytes(kMessageBytes / value), format_bytes(kMessageBytes / middle));
    }
  }
  if (finding.ranks.empty()) return {};
  return {finding};
}

}  // namespace kiln
