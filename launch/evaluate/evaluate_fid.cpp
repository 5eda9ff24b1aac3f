#include "launch/evaluate/evaluate_fid.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include "core/base/error.h"
#include "core/checkpoint/safetensors.h"
#include "core/report/log.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "launch/evaluate/features.h"
#include "launch/evaluate/measure.h"
#include "launch/evaluate/picture_features.h"
#include "launch/run/device.h"
#include "launch/run/make_trainer.h"
#include "launch/run/world.h"
#include "models/capabilities.h"
#include "models/measures/frechet.h"
#include "models/measures/linear_probe.h"
#include "models/measures/principal_components.h"

// N real and M made pictures, H x W pixels, C channels, D features.

namespace kiln {
namespace {

constexpr std::int64_t kMostReal = 50'000;
constexpr std::int64_t kMostForNeighbours = 10'000;

/// eval.path=... among the words, which for other evaluations of a model of latents are latents.
struct SplitArgs {
  TrainedModelArgs model;
  std::string real_path;
};

SplitArgs split(const TrainedModelArgs& args) {
  SplitArgs result{args, ""};
  std::erase_if(result.model.overrides, [&](const std::string& word) {
    const std::string key = "eval.path=";
    if (!word.starts_with(key)) return false;
    result.real_path = word.substr(key.size());
    if (result.real_path.starts_with('"') && result.real_path.ends_with('"')) {
      result.real_path = result.real_path.substr(1, result.real_path.size() - 2);
    }
    return true;
  });
  if (result.real_path.empty()) {
    throw usage_error(
        "eval.path=DATASET is missing: which real pictures to hold the model against");
  }
  return result;
}

struct RealFeatures {
  at::Tensor rows;    // [N, D] as the feature space gives them
  at::Tensor labels;  // [N] int64; undefined without classes
};

class Comparison {
 public:
  Comparison(const FidArgs& args, World& world)
      : args_(args),
        world_(world),
        split_(split(args.target)),
        model_(TrainedModel::open(split_.model)),
        device_(choose_device(model_.recipe.run.device, world)),
        maker_(on_device(*model_.objective), args.target.path, with_texts(args.pictures), device_) {
    use_threads(model_.recipe, world);
    open_real();
    const auto shape = maker_.shape_of(1);
    features_ = open_picture_features(args.features, {shape.begin() + 1, shape.end()}, device_);
    if (args.has_controls && controls().empty()) {
      throw usage_error("--controls compares latents, but '{}' draws pixels", args.target.path);
    }
  }

  nlohmann::json run() {
    real_ = cached_real_features();
    if (features_->num_components() > 0) {
      components_ = PrincipalComponents::fit(real_.rows, features_->num_components());
      real_.rows = components_->project(real_.rows);
    }
    FeatureStatistics real(real_.rows.size(1));
    real.add(real_.rows);
    std::vector<std::int64_t> labels(static_cast<std::size_t>(args_.num));
    const at::Tensor made = features_of([&](std::int64_t first) { return maker_.make(first); });
    nlohmann::json figures = {{"frechet_distance", distance(real, made)},
                              {"features", args_.features},
                              {"real_samples", real_.rows.size(0)},
                              {"samples", args_.num}};
    const PrecisionRecall manifold = precision_recall(most(real_.rows), most(made));
    figures["precision"] = manifold.precision;
    figures["recall"] = manifold.recall;
    if (maker_.has_labels() && real_.labels.defined())
      figures["class_accuracy"] = accuracy_of(made);
    if (args_.has_controls) add_controls(real, figures);
    return figures;
  }

  const TrainedModel& model() const { return model_; }

 private:
  using Make = std::function<PictureMaker::Made(std::int64_t first)>;

  Objective& on_device(Objective& objective) const {
    objective.module().to(device_);
    return objective;
  }

  std::vector<std::string> controls() const {
    const auto* generator = model_.find<ControlGenerator>();
    return generator ? generator->controls() : std::vector<std::string>{};
  }

  /// Those of the latents that the model is otherwise evaluated on, where none are named.
  PictureOptions with_texts(PictureOptions options) const {
    if (options.context.empty()) {
      options.context = texts_of_recipe(model_.as<PictureGenerator>("draws no pictures"),
                                        model_.reader, model_.recipe);
    }
    return options;
  }

  void open_real() {
    RecipeReader reader = RecipeReader::from_text("", "fid", {"data.path=" + split_.real_path});
    data_ = open_data(reader, Recipe{}, "image", DataUse::kEvaluation);
    const auto shape = maker_.shape_of(1);
    const std::vector real = {std::int64_t{1}, data_.info.height, data_.info.width,
                              data_.info.channels};
    if (real != shape) {
      throw usage_error(
          "the pictures of '{}' are {} x {} with {} channels, those drawn {} x {} with {}",
          split_.real_path, real[1], real[2], real[3], shape[1], shape[2], shape[3]);
    }
    if (maker_.has_labels()) {
      match_classes(data_, model_.data.info.class_names, "what the model learned from");
    }
    const std::int64_t asked = model_.recipe.eval.max_samples;
    num_real_ = std::min(data_.info.num_samples, asked > 0 ? asked : kMostReal);
  }

  std::filesystem::path cache_file() const {
    if (model_.run_folder.empty()) return {};
    const std::string key = fmt::format("{} {} {} {}", data_.info.fingerprint, features_->id(),
                                        num_real_, fmt::join(data_.info.class_names, "/"));
    return model_.run_folder / "cache" /
           fmt::format("features-{}.safetensors", hash_bytes(key.data(), key.size()).hex());
  }

  RealFeatures cached_real_features() {
    const auto file = cache_file();
    at::Tensor is_there = at::zeros({1}, at::kLong);
    if (world_.rank() == 0) is_there.fill_(!file.empty() && std::filesystem::exists(file) ? 1 : 0);
    world_.communicator().broadcast(is_there, 0).wait();
    if (is_there.item<std::int64_t>() == 1) {
      const SafetensorsFile kept(file);
      RealFeatures real{kept.read("features"), {}};
      if (kept.contains("labels")) real.labels = kept.read("labels");
      return real;
    }
    RealFeatures real = real_features();
    if (world_.rank() == 0 && !file.empty()) {
      std::filesystem::create_directories(file.parent_path());
      std::vector<std::pair<std::string, at::Tensor>> tensors = {{"features", real.rows}};
      if (real.labels.defined()) tensors.emplace_back("labels", real.labels);
      write_safetensors(file, tensors);
    }
    return real;
  }

  RealFeatures real_features() {
    const bool has_labels = !data_.info.class_names.empty();
    RealFeatures real{at::zeros({num_real_, width()}),
                      has_labels ? at::zeros({num_real_}, at::kLong) : at::Tensor()};
    for_each_share(*data_.source, num_real_, world_.communicator(), device_, world_.cores(),
                   [&](Batch& batch, Range range) {
                     const auto place = [&](at::Tensor& to, const at::Tensor& from) {
                       to.slice(0, range.begin, range.end).copy_(from.narrow(0, 0, range.size()));
                     };
                     place(real.rows, (*features_)(batch.at("image")));
                     if (has_labels) place(real.labels, batch.at("label").cpu());
                   });
    // Every row is one rank's and zero on the others: the sum is exact.
    world_.communicator().all_reduce(real.rows).wait();
    if (has_labels) world_.communicator().all_reduce(real.labels).wait();
    return real;
  }

  /// D, before principal components are taken.
  std::int64_t width() const {
    return (*features_)(at::zeros(maker_.shape_of(1), at::kByte)).size(1);
  }

  /// Of pictures 0 .. num - 1, on every rank: [M, D].
  at::Tensor features_of(const Make& make) {
    const std::int64_t batch = maker_.batch(), num = args_.num;
    Communicator& communicator = world_.communicator();
    const Range mine =
        share_of((num + batch - 1) / batch, communicator.rank(), communicator.size());
    at::Tensor rows = at::zeros({num, width()});
    labels_ = at::zeros({num}, at::kLong);
    ProgressBar bar("sample", "pictures", mine.size() * batch);
    for (std::int64_t b = mine.begin; b < mine.end; ++b) {
      const std::int64_t first = b * batch, count = std::min(batch, num - first);
      const PictureMaker::Made made = make(first);
      rows.narrow(0, first, count).copy_((*features_)(made.pictures).narrow(0, 0, count));
      if (!made.labels.empty()) {
        labels_.narrow(0, first, count)
            .copy_(at::tensor(made.labels, at::kLong).narrow(0, 0, count));
      }
      bar.update((b - mine.begin + 1) * batch);
    }
    communicator.all_reduce(rows).wait();
    communicator.all_reduce(labels_).wait();
    return components_ ? components_->project(rows) : rows;
  }

  static double distance(const FeatureStatistics& real, const at::Tensor& made) {
    FeatureStatistics statistics(made.size(1));
    statistics.add(made);
    return frechet_distance(real, statistics);
  }

  static at::Tensor most(const at::Tensor& rows) {
    return rows.narrow(0, 0, std::min(kMostForNeighbours, rows.size(0)));
  }

  double accuracy_of(const at::Tensor& made) const {
    const LinearProbe probe =
        LinearProbe::fit({most(real_.rows), most(real_.labels)}, maker_.num_classes());
    return accuracy(probe.predict(made), labels_);
  }

  void add_controls(const FeatureStatistics& real, nlohmann::json& figures) {
    auto& generator = *model_.find<ControlGenerator>();
    generator.fit_controls(sample_reader(*model_.data.source, 1),
                           static_cast<std::uint64_t>(model_.recipe.run.seed));
    for (const std::string& name : controls()) {
      const auto make = [&](std::int64_t first) -> PictureMaker::Made {
        return {generator.draw_control(name, first, maker_.batch(), args_.pictures.seed), {}};
      };
      figures["frechet_" + name] = distance(real, features_of(make));
    }
  }

  const FidArgs& args_;
  World& world_;
  SplitArgs split_;
  TrainedModel model_;
  at::Device device_;
  PictureMaker maker_;
  OpenedData data_;
  std::int64_t num_real_ = 0;
  std::unique_ptr<PictureFeatures> features_;
  std::optional<PrincipalComponents> components_;
  RealFeatures real_;
  at::Tensor labels_;  // [M] the pictures were asked to be
};

CommandResult evaluate_in(World& world, const FidArgs& args) {
  Comparison comparison(args, world);
  nlohmann::json result = comparison.run();
  result["evaluation"] = "fid";
  result["of"] = comparison.model().name;
  if (world.rank() != 0) return {};
  const auto& folder = comparison.model().run_folder;
  if (!folder.empty()) {
    std::ofstream(folder / "evaluations.jsonl", std::ios::app) << result.dump() << "\n";
  }
  for (const auto& [name, value] : result.items()) fmt::print("{:22} {}\n", name, value.dump());
  return {ExitCode::kDone, result};
}

}  // namespace

CommandResult evaluate_fid(const FidArgs& args) {
  if (args.num < 4) throw usage_error("--num {}: at least 4", args.num);
  if (args.pictures.batch < 1) {
    throw usage_error("--batch {}: at least one", args.pictures.batch);
  }
  return run_in_world(600, [&](World& world) { return evaluate_in(world, args); });
}

}  // namespace kiln
