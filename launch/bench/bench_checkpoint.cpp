#include <filesystem>

#include "core/base/error.h"
#include "core/base/file_io.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/run_folder.h"
#include "core/torch.h"
#include "launch/bench/bench.h"

namespace kiln {

namespace {

/// Weights and two moments of the model, as much as AdamW keeps; rank r gives its share.
CheckpointState state_of(const TrainingSetup& setup, World& world) {
  CheckpointState state;
  const auto parameters = setup.objective->parameters(0);
  const Range share = share_of(std::ssize(parameters), world.rank(), world.size());
  for (std::int64_t i = share.begin; i < share.end; ++i) {
    const Parameter& parameter = parameters[static_cast<std::size_t>(i)];
    const at::Tensor flat = parameter.tensor.detach().to(at::kFloat).contiguous().view({-1});
    const auto piece = [&](const std::string& name) {
      return Piece{name, parameter.tensor.sizes().vec(), {0, flat.numel()}, flat.clone()};
    };
    state.weights.push_back(piece(parameter.name));
    state.optimizer.push_back(piece("exp_avg/" + parameter.name));
    state.optimizer.push_back(piece("exp_avg_sq/" + parameter.name));
  }
  return state;
}

/// Bytes per second of writing one file of that size and flushing it to the same disk.
Spread disk_rate(const std::filesystem::path& folder, std::int64_t num_bytes) {
  const std::vector<char> bytes(static_cast<std::size_t>(num_bytes), 1);
  const auto path = folder / "bench.partial";
  const auto seconds = seconds_of(3, [&] {
    auto file = posix_file_system().create(path);
    file->write(bytes.data(), bytes.size());
    file->sync();
  });
  posix_file_system().remove_all(path);
  return spread_of(rates(static_cast<double>(num_bytes), seconds));
}

}  // namespace

/// How long the loop stops, and how long a thread copies after that. The weights must not change
/// until the copy ends; forward and backward of the next step take longer.
Json bench_checkpoint(World& world, TrainingSetup& setup, std::int64_t repeats) {
  const auto folder = std::filesystem::path(setup.recipe.run.dir) / "bench_checkpoint";
  std::optional<RunFolder> held;
  if (world.rank() == 0) held.emplace(RunFolder::open(folder));
  world.communicator().barrier();
  CheckpointWriter writer({.run_dir = folder,
                           .rank = world.rank(),
                           .ranks = world.size(),
                           .attempt = read_attempt(folder),
                           .keep = 1,
                           .async = true});
  CheckpointState state = state_of(setup, world);
  std::vector<double> stall_s, snapshot_s, write_s;
  for (std::int64_t i = 0; i <= repeats; ++i) {
    state.step = i;
    writer.begin(state);
    writer.wait();
    if (writer.has_failed()) throw checkpoint_error("{}", writer.failure());
    world.communicator().barrier();
    writer.commit();
    writer.wait();
    world.communicator().barrier();
    if (i == 0) continue;
    stall_s.push_back(writer.cost().begin_s);
    snapshot_s.push_back(writer.cost().snapshot_s);
    write_s.push_back(writer.cost().write_s);
  }
  const auto bytes = static_cast<std::int64_t>(writer.cost().num_bytes);
  const Spread disk = disk_rate(folder, bytes);
  const Spread copied = copy_rate(bytes, 5);
  held.reset();
  world.communicator().barrier();
  if (world.rank() == 0) std::filesystem::remove_all(folder);
  const auto rate = [&](const std::vector<double>& seconds) {
    return to_json(spread_of(rates(static_cast<double>(bytes), seconds)));
  };
  return {
      {"bytes_per_rank", bytes},
      {"stall_s", to_json(spread_of(stall_s))},
      {"snapshot_s", to_json(spread_of(snapshot_s))},
      {"write_s", to_json(spread_of(write_s))},
      {"snapshot_bytes_per_s", rate(snapshot_s)},
      {"write_bytes_per_s", rate(write_s)},
      {"ceiling", {{"memcpy_bytes_per_s", to_json(copied)}, {"disk_bytes_per_s", to_json(disk)}}}};
}

}  // namespace kiln
