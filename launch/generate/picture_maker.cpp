#include "launch/generate/picture_maker.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/work.h"
#include "core/report/picture.h"
#include "core/report/progress_bar.h"
#include "core/torch.h"
#include "data/latents/context_source.h"

namespace kiln {

TextConditions::TextConditions(const std::string& path)
    : source_(make_context_source(std::make_shared<const Dataset>(path))) {}

at::Tensor TextConditions::rows(std::int64_t first, std::int64_t count) const {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back((first + i) % source_->num_samples());
  Batch batch = source_->allocate(count);
  source_->read(ids, 0, batch, 0);
  return batch.at("context");
}

namespace {

PictureGenerator& generator_of(Objective& objective, const std::string& name) {
  if (auto* generator = dynamic_cast<PictureGenerator*>(&objective)) return *generator;
  throw usage_error("'{}' draws no pictures", name);
}

}  // namespace

PictureMaker::PictureMaker(Objective& objective, const std::string& name,
                           const PictureOptions& options, at::Device device)
    : generator_(generator_of(objective, name)), options_(options) {
  configure();
  needed_ = generator_.requirements();
  check_label(name);
  open_texts(objective, name);
  if (needed_.has_latents) load_codec(name, device);
}

void PictureMaker::configure() {
  std::vector<std::string> words;
  for (const auto& [key, value] : options_.drawing) words.push_back("draw." + key + "=" + value);
  RecipeReader reader = RecipeReader::from_text("", "of the command line", words);
  generator_.configure_drawing(reader, options_.seed);
}

void PictureMaker::check_label(const std::string& name) const {
  if (options_.label < 0) return;
  if (!has_labels()) throw usage_error("a class was asked for, but '{}' draws by none", name);
  if (options_.label >= num_classes()) {
    throw usage_error("class {} is beyond the table: '{}' knows 0 to {}", options_.label, name,
                      num_classes() - 1);
  }
}

void PictureMaker::open_texts(const Objective& objective, const std::string& name) {
  const std::string& path = options_.context;
  if (needed_.text_width == 0) {
    if (path.empty()) return;
    throw usage_error("--context '{}': '{}' follows no texts", path, name);
  }
  if (path.empty()) {
    throw usage_error(
        "'{}' draws by texts: give --context, a dataset of their embeddings (`kiln encode BERT "
        "--data TEXT --out EMBEDDINGS`)",
        name);
  }
  texts_.emplace(path);
  objective.check(texts_->source().allocate(1), path);
}

void PictureMaker::load_codec(const std::string& name, at::Device device) {
  if (needed_.codec.empty()) {
    throw usage_error(
        "the samples of '{}' are latents: give --autoencoder, or model.autoencoder in the recipe, "
        "to decode them",
        name);
  }
  codec_.emplace(TrainedModel::open({.path = needed_.codec, .reads_data = false}));
  LatentCodec& codec = codec_->as<LatentCodec>("is no autoencoder");
  const std::string found = hash_of_weights(*codec_->objective);
  if (!needed_.codec_hash.empty() && found != needed_.codec_hash) {
    throw usage_error(
        "the autoencoder '{}' (hash {}) did not make the latents that '{}' was trained on (hash "
        "{})",
        needed_.codec, found, name, needed_.codec_hash);
  }
  codec_->objective->module().to(device);
  generator_.set_codec(&codec);
  generator_.drawn_shape();  // throws where latents do not fit the codec
}

std::vector<std::int64_t> PictureMaker::shape_of(std::int64_t num) const {
  std::vector<std::int64_t> shape = generator_.drawn_shape();
  shape.insert(shape.begin(), num);
  return shape;
}

std::vector<std::int64_t> PictureMaker::labels_from(std::int64_t first) const {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; has_labels() && i < options_.batch; ++i) {
    labels.push_back(options_.label >= 0 ? options_.label : (first + i) % num_classes());
  }
  return labels;
}

PictureMaker::Made PictureMaker::make(std::int64_t first) {
  PictureGenerator::Conditions conditions;
  conditions.classes = labels_from(first);
  if (texts_) conditions.texts = texts_->rows(first, options_.batch);
  return {generator_.draw(first, options_.batch, conditions), conditions.classes};
}

std::string texts_of_recipe(const PictureGenerator& generator, const RecipeReader& reader,
                            const Recipe& recipe) {
  if (generator.requirements().text_width == 0) return "";
  return recipe.eval.path.empty() ? reader.peek("data", "path", "") : recipe.eval.path;
}

at::Tensor make_pictures(PictureMaker& maker, std::int64_t num, Communicator& communicator,
                         bool has_bar) {
  const std::int64_t batch = maker.batch();
  const Range mine = share_of((num + batch - 1) / batch, communicator.rank(), communicator.size());
  at::Tensor all = at::zeros(maker.shape_of(num), at::kFloat);
  std::optional<ProgressBar> bar;
  if (has_bar) bar.emplace("sample", "pictures", mine.size() * batch);
  for (std::int64_t b = mine.begin; b < mine.end; ++b) {
    const std::int64_t first = b * batch;
    const std::int64_t count = std::min(batch, num - first);
    all.narrow(0, first, count).copy_(maker.make(first).pictures.narrow(0, 0, count));
    if (bar) bar->update((b - mine.begin + 1) * batch);
  }
  // Every picture is some rank's and zero on the others: the sum is exact.
  communicator.all_reduce(all).wait();
  return all.to(at::kByte);
}

at::Tensor square_grid(const at::Tensor& pictures) {
  GridOptions options;
  options.columns =
      static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(pictures.size(0)))));
  options.scale = std::max<std::int64_t>(1, 64 / pictures.size(1));  // small ones stay visible
  return picture_grid(pictures, options);
}

}  // namespace kiln
