#include "launch/generate/sample.h"

#include <algorithm>
#include <chrono>

#include "core/base/error.h"
#include "core/report/log.h"
#include "core/report/picture.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "data/importers/import.h"
#include "data/importers/import_session.h"
#include "launch/generate/encoded_rows.h"
#include "launch/generate/picture_maker.h"
#include "launch/run/device.h"
#include "launch/run/world.h"

namespace kiln {
namespace {

bool is_grid(const std::filesystem::path& out) { return out.extension() == ".png"; }

void write_dataset(PictureMaker& maker, const SampleArgs& args, World& world) {
  ImportOptions options;
  options.out = args.out;
  options.rank = world.rank();
  options.num_ranks = world.size();
  const auto shape = maker.shape_of(1);
  Manifest manifest;
  manifest.kind = "image";
  manifest.fields["image"] = {.dtype = DType::kUInt8, .shape = {shape.begin() + 1, shape.end()}};
  manifest.provenance["made_by"] = "kiln sample " + args.of;
  if (maker.has_labels()) {
    manifest.fields["label"] = {.dtype = DType::kInt32};
    for (std::int64_t k = 0; k < maker.num_classes(); ++k) {
      manifest.class_names.push_back(std::to_string(k));
    }
  }
  constexpr std::int64_t kShardSamples = 8192;
  const std::int64_t per_shard = samples_per_shard(c10::multiply_integers(shape), maker.batch(),
                                                   kShardSamples, options.shard_bytes);
  ImportSession session(options, manifest, args.num, per_shard);
  ProgressBar bar("sample", "pictures", session.num_own_items());
  std::int64_t done = 0;
  session.run([&](ImportSession::Filling& filling) {
    for (std::int64_t first = filling.items.begin; first < filling.items.end;
         first += maker.batch()) {
      const std::int64_t count = std::min(maker.batch(), filling.items.end - first);
      const auto made = maker.make(first);
      const at::Tensor bytes = made.pictures.narrow(0, 0, count).contiguous();
      const std::int64_t pixels = bytes.size(1) * bytes.size(2);
      append_tensor(filling.shard, "image", bytes);
      filling.sums.add(bytes.const_data_ptr<std::uint8_t>(), count * pixels, bytes.size(3));
      for (std::int64_t i = 0; maker.has_labels() && i < count; ++i) {
        filling.shard.append_value<std::int32_t>(
            "label", static_cast<std::int32_t>(made.labels[static_cast<std::size_t>(i)]));
      }
      bar.update(done += count);
    }
  });
  world.communicator().barrier();
  if (world.rank() == 0) finish_import(options);
}

CommandResult sample_in(World& world, const SampleArgs& args) {
  const auto start = std::chrono::steady_clock::now();
  at::set_num_threads(static_cast<int>(args.threads > 0 ? args.threads : world.cores()));
  const at::Device device = choose_device(args.device, world);
  const TrainedModel model =
      TrainedModel::open({.path = args.of, .overrides = args.overrides, .reads_data = false});
  model.objective->module().to(device);
  PictureMaker maker(*model.objective, args.of, args.pictures, device);
  if (is_grid(args.out)) {
    const at::Tensor pictures =
        make_pictures(maker, args.num, world.communicator(), /*has_bar=*/true);
    if (world.rank() == 0) write_png(args.out, square_grid(pictures));
  } else {
    write_dataset(maker, args, world);
  }
  if (world.rank() != 0) return {};
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log_info("{} pictures in {}: {}", args.num, format_duration(seconds.count()), args.out.string());
  nlohmann::json result = maker.generator().chosen_drawing();
  result.update({{"samples", args.num}, {"out", args.out.string()}, {"seconds", seconds.count()}});
  return {ExitCode::kDone, result};
}

}  // namespace

CommandResult sample_pictures(const SampleArgs& args) {
  if (args.num < 1) throw usage_error("--num {}: at least one", args.num);
  if (args.pictures.batch < 1) {
    throw usage_error("--batch {}: at least one", args.pictures.batch);
  }
  return run_in_world(600, [&](World& world) { return sample_in(world, args); });
}

}  // namespace kiln
