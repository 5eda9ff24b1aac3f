#include "launch/evaluate/evaluate.h"

#include <fmt/format.h>

#include <fstream>
#include <optional>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/report/log.h"
#include "core/report/picture.h"
#include "core/torch.h"
#include "launch/evaluate/evaluate_fid.h"
#include "launch/evaluate/evaluate_likelihood.h"
#include "launch/evaluate/evaluate_mlm.h"
#include "launch/evaluate/evaluate_ngram.h"
#include "launch/evaluate/evaluations.h"
#include "launch/run/device.h"
#include "launch/run/run_parts.h"
#include "launch/run/world.h"

namespace kiln {

namespace {

using Evaluation = Figures (*)(const Evaluated&);

Evaluation find_evaluation(const std::string& name) {
  static const std::map<std::string, Evaluation> table = {{"knn", evaluate_knn},
                                                          {"likelihood", evaluate_likelihood},
                                                          {"linear", evaluate_linear},
                                                          {"mlm", evaluate_mlm},
                                                          {"reconstruct", evaluate_reconstruction}};
  if (const auto found = table.find(name); found != table.end()) return found->second;
  throw usage_error("{}", unknown_name("evaluation", name,
                                       {"knn", "linear", "finetune", "mlm", "ngram", "reconstruct",
                                        "fid", "likelihood"}));
}

std::filesystem::path picture_path(const EvaluateArgs& args, const EvalTarget& target) {
  if (!args.out.empty()) return args.out;
  const std::string name =
      args.target.is_untrained ? "reconstructions_untrained.png" : "reconstructions.png";
  return target.run_folder.empty() ? std::filesystem::path(name) : target.run_folder / name;
}

void keep(const nlohmann::json& result, const EvalTarget& target) {
  if (target.run_folder.empty()) return;
  std::ofstream(target.run_folder / "evaluations.jsonl", std::ios::app) << result.dump() << "\n";
}

CommandResult evaluate_in(World& world, const EvaluateArgs& args, Evaluation evaluation) {
  EvalTarget target = open_target(args.target);
  if (!target.data.source) throw usage_error("eval.path is missing: the dataset to evaluate on");
  const Recipe& recipe = target.recipe;
  use_threads(recipe, world);
  const at::Device device = choose_device(recipe.run.device, world);
  target.objective->module().to(device);
  std::optional<OpenedData> train_data;
  if (!recipe.eval.train_path.empty()) {
    train_data = open_data(target.reader, recipe, target.data_kind, DataUse::kEvaluation,
                           recipe.eval.train_path);
  }
  const Evaluated evaluated{.objective = *target.objective,
                            .recipe = recipe,
                            .data = target.data,
                            .train_data = train_data ? &*train_data : nullptr,
                            .communicator = world.communicator(),
                            .device = device,
                            .num_threads = world.cores()};
  nlohmann::json result = evaluation(evaluated);
  result["evaluation"] = args.what;
  result["of"] = target.name;
  if (world.rank() != 0) return {};
  if (args.what == "reconstruct") {
    const auto path = picture_path(args, target);
    write_png(path, reconstruction_picture(evaluated));
    result["picture"] = path.string();
  }
  keep(result, target);
  for (const auto& [name, value] : result.items()) fmt::print("{:20} {}\n", name, value.dump());
  return {ExitCode::kDone, result};
}

}  // namespace

CommandResult evaluate(const EvaluateArgs& args) {
  if (args.what == "fid") {
    return evaluate_fid({args.target, args.pictures, args.num, args.features, args.has_controls});
  }
  if (args.what == "ngram") return evaluate_ngram(args.target);
  if (args.what == "mlm" && !args.text.empty()) {
    return predict_masked_words(args.target, args.text);
  }
  const Evaluation evaluation = find_evaluation(args.what);
  return run_in_world(600, [&](World& world) { return evaluate_in(world, args, evaluation); });
}

}  // namespace kiln
