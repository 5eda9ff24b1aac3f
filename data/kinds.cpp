#include "data/kinds.h"

#include <algorithm>

#include "core/base/error.h"
#include "data/images/image_source.h"
#include "data/latents/latent_source.h"
#include "data/store/class_map.h"
#include "data/text/labelled_text.h"
#include "data/text/text_source.h"
#include "data/text/token_stream.h"
#include "data/views/view_source.h"

namespace kiln {
namespace {

OpenedData open_images(const DataRequest& request) {
  ImageOptions image;
  request.reader.read("data", image);
  resolve_views(image);
  // reader.finish() says why; what follows must not stumble.
  if (!check(image, request.reader)) {
    const std::int64_t first = image.views.empty() ? 0 : image.views.front().size;
    const std::int64_t size = std::max({image.size, first, std::int64_t{0}});
    image = {};
    image.size = size;
    if (size > 0) image.crop = "center";
  }
  const std::shared_ptr<const Dataset> dataset = open_dataset(request.options);
  OpenedData data;
  data.dataset = dataset;
  if (request.use == DataUse::kEvaluation) {
    const ImageOptions still = evaluation_options(image);
    data.info = describe_images(*dataset, still);
    if (!image.views.empty()) data.info.views = describe_images(*dataset, image).views;
    data.source = make_image_source(dataset, still, request.seed);
    return data;
  }
  data.info = describe_images(*dataset, image);
  // What the model is trained with is part of the resolved recipe: an evaluation on other images
  // normalises them the same way.
  image.mean = data.info.mean;
  image.std = data.info.std;
  request.reader.update("data", image);
  data.source = image.views.empty() ? make_image_source(dataset, image, request.seed)
                                    : make_view_source(dataset, image, request.seed);
  return data;
}

OpenedData open_latents(const DataRequest& request) {
  const std::shared_ptr<const Dataset> dataset = open_dataset(request.options);
  OpenedData data;
  data.info = describe_latents(*dataset);
  data.source = make_latent_source(dataset);
  data.dataset = dataset;
  data.order.block_samples = dataset->shard_samples();
  return data;
}

OpenedData open_text(const DataRequest& request) {
  TextOptions text;
  request.reader.read("data", text);
  const auto stream = std::make_shared<const TokenStream>(open_dataset(request.options));
  OpenedData data;
  data.info = describe_text(*stream, text);
  data.source = make_text_source(stream, text, request.seed);
  // Windows of a whole stream are mixed with each other: they are small and read at random anyway.
  data.order.block_samples = data.source->num_samples();
  return data;
}

OpenedData open_labelled(const DataRequest& request) {
  LabelledTextOptions text;
  request.reader.read("data", text);
  LabelledText opened = open_labelled_text(request.options.path, text);
  text.classes = opened.info.class_names;
  request.reader.update("data", text);
  OpenedData data;
  data.info = std::move(opened.info);
  data.source = std::move(opened.source);
  return data;
}

template <typename Options>
void describe_options(RecipeReader& reader) {
  Options options;
  reader.read("data", options);
}

}  // namespace

const std::vector<DataKind>& data_kinds() {
  static const std::vector<DataKind> kinds = {
      {"image", "Pictures, perhaps with labels.", open_images, describe_options<ImageOptions>},
      {"latent", "Pictures as moments of an autoencoder's latents.", open_latents,
       describe_options<ImageOptions>},  // a folder of the hub states size, mean and std for any
      {"text", "Tokens of running text.", open_text, describe_options<TextOptions>},
      {"labelled_text", "Sentences or pairs of them with labels.", open_labelled,
       describe_options<LabelledTextOptions>},
  };
  return kinds;
}

const DataKind& find_data_kind(const std::string& name) {
  const auto found = std::ranges::find(data_kinds(), name, &DataKind::name);
  KILN_CHECK(found != data_kinds().end(), "no kind of data is called '{}'", name);
  return *found;
}

OpenedData open_data(RecipeReader& reader, const Recipe& recipe, const std::string& kind,
                     DataUse use, const std::string& path) {
  DataOptions options;
  reader.read("data", options);
  if (!path.empty()) options.path = path;
  if (options.path.empty()) {
    throw usage_error("data.path is missing: the dataset folder, made by `kiln data import`");
  }
  if (!check(options, reader)) options = {.path = options.path};
  const auto seed = static_cast<std::uint64_t>(recipe.run.seed);
  OpenedData data = find_data_kind(kind).open({reader, options, seed, use});
  data.order.num_samples = data.source->num_samples();
  if (data.order.block_samples == 0) data.order.block_samples = data.source->block_samples();
  data.order.window_blocks = options.shuffle_shards;
  data.order.shuffle = options.shuffle;
  data.order.seed = seed;
  data.workers = options.workers;
  return data;
}

void match_classes(OpenedData& data, const std::vector<std::string>& names,
                   const std::string& reference) {
  if (!data.dataset || names.empty()) return;
  if (!data.as_stored) data.as_stored = data.source;
  data.source = renumbered(data.as_stored, ClassMap(*data.dataset, names, reference));
  if (!data.info.class_names.empty()) data.info.class_names = names;
}

}  // namespace kiln
