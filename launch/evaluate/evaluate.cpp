#include "launch/evaluate/evaluate.h"

#include <fmt/format.h>

#include <fstream>
#include <optional>

#include "core/base/error.h"
#include "core/report/picture.h"
#include "core/torch.h"
#include "launch/run/device.h"
#include "launch/run/make_trainer.h"
#include "launch/run/world.h"

namespace kiln {

namespace {

std::filesystem::path picture_path(const EvaluateArgs& args, const TrainedModel& model) {
  if (!args.out.empty()) return args.out;
  const std::string name =
      args.target.is_untrained ? "reconstructions_untrained.png" : "reconstructions.png";
  return model.run_folder.empty() ? std::filesystem::path(name) : model.run_folder / name;
}

void keep(const nlohmann::json& result, const TrainedModel& model) {
  if (model.run_folder.empty()) return;
  std::ofstream(model.run_folder / "evaluations.jsonl", std::ios::app) << result.dump() << "\n";
}

CommandResult evaluate_in(World& world, const EvaluateArgs& args,
                          const std::function<Figures(const Evaluated&)>& compute) {
  TrainedModel model = TrainedModel::open(args.target);
  if (!model.data.source) throw usage_error("eval.path is missing: the dataset to evaluate on");
  const Recipe& recipe = model.recipe;
  use_threads(recipe, world);
  const at::Device device = choose_device(recipe.run.device, world);
  model.objective->module().to(device);
  std::optional<OpenedData> train_data;
  if (!recipe.eval.train_path.empty()) {
    train_data = open_data(model.reader, recipe, model.data_kind, DataUse::kEvaluation,
                           recipe.eval.train_path);
    match_classes(model.data, train_data->info.class_names, "eval.train_path");
  }
  const Evaluated evaluated{.objective = *model.objective,
                            .recipe = recipe,
                            .data = model.data,
                            .train_data = train_data ? &*train_data : nullptr,
                            .communicator = world.communicator(),
                            .device = device,
                            .num_threads = world.cores()};
  nlohmann::json result = compute(evaluated);
  result["evaluation"] = args.what;
  result["of"] = model.name;
  if (world.rank() != 0) return {};
  if (args.has_picture) {
    const auto path = picture_path(args, model);
    write_png(path, reconstruction_picture(evaluated));
    result["picture"] = path.string();
  }
  keep(result, model);
  for (const auto& [name, value] : result.items()) fmt::print("{:20} {}\n", name, value.dump());
  return {ExitCode::kDone, result};
}

}  // namespace

CommandResult evaluate(const EvaluateArgs& args,
                       const std::function<Figures(const Evaluated&)>& compute) {
  return run_in_world(600, [&](World& world) { return evaluate_in(world, args, compute); });
}

}  // namespace kiln
