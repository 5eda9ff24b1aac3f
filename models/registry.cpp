#include "models/registry.h"

#include <fmt/ranges.h>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/torch.h"
#include "models/autoencoder/autoencoder_format.h"
#include "models/autoencoder/objective.h"
#include "models/bert/bert_classifier.h"
#include "models/bert/bert_format.h"
#include "models/byol/byol.h"
#include "models/diffusion/diffusion_format.h"
#include "models/diffusion/objective.h"
#include "models/dino/dino.h"
#include "models/gpt/image_gpt_options.h"
#include "models/mae/mae_options.h"
#include "models/mae/vit_format.h"
#include "models/moby/moby.h"
#include "models/moco/moco.h"
#include "models/ngram/ngram_evaluation.h"
#include "models/resnet/resnet_classifier.h"
#include "models/resnet/resnet_format.h"
#include "models/siamese/margin.h"
#include "models/siamese/simclr.h"
#include "models/vit/vit_classifier.h"

namespace kiln {
namespace {

/// Ours, and then those that add_models() brought.
std::vector<ModelEntry>& table() {
  static std::vector<ModelEntry> entries = {
      {.name = "bert",
       .data_kind = "text",
       .summary = "BERT: predicts masked tokens, and whether sentence pairs belong together.",
       .make = make_bert,
       .evaluations = {{"mlm", "masked words of held-out text", /*fills_gaps=*/true}},
       .formats = [] { return std::vector{bert_format()}; }},
      {.name = "bert_classifier",
       .data_kind = "labelled_text",
       .summary = "BERT that classifies sentences or sentence pairs.",
       .make = make_bert_classifier},
      {.name = "autoencoder",
       .data_kind = "image",
       .summary = "KL or VQ autoencoder, perhaps with a discriminator: the first stage.",
       .make = make_autoencoder,
       .formats = autoencoder_formats},
      {.name = "igpt",
       .data_kind = "image",
       .summary = "Image GPT: predicts grey levels of pixels from those before them.",
       .make = make_igpt,
       .drawing = option_docs<TokenSampling>},
      {.name = "latent_diffusion",
       .data_kind = "latent",
       .summary = "U-Net or transformer that draws latents of an autoencoder.",
       .make = make_latent_diffusion,
       .drawing = option_docs<GenerateOptions>,
       .formats =
           [] {
             return std::vector{dit_format(), unet_2d_condition_format(), unet_2d_format()};
           }},
      {.name = "pixel_diffusion",
       .data_kind = "image",
       .summary = "The same on pixels.",
       .make = make_latent_diffusion,
       .drawing = option_docs<GenerateOptions>},
      {.name = "mae",
       .data_kind = "image",
       .summary = "Masked autoencoder: a ViT that predicts the pixels of hidden patches.",
       .make = make_mae,
       .formats = [] { return std::vector{vit_mae_format()}; }},
      {.name = "resnet",
       .data_kind = "image",
       .summary = "Residual network that classifies images.",
       .make = make_resnet,
       .formats = [] { return std::vector{resnet_format()}; }},
      {.name = "vit",
       .data_kind = "image",
       .summary = "ViT classifier, from scratch or fine-tuned from a masked autoencoder.",
       .make = make_vit,
       .formats = [] { return std::vector{vit_classifier_format()}; }},
      {.name = "simclr",
       .data_kind = "image",
       .summary = "SimCLR: views of one picture are told from those of all others.",
       .make = make_simclr,
       .takes_views = true},
      {.name = "moco",
       .data_kind = "image",
       .summary = "MoCo v1 to v3: a network told apart from keys of its moving average.",
       .make = make_moco,
       .takes_views = true},
      {.name = "moby",
       .data_kind = "image",
       .summary = "MoBY: BYOL's predictor and both views, MoCo's queues; for transformers.",
       .make = make_moby,
       .takes_views = true},
      {.name = "byol",
       .data_kind = "image",
       .summary = "BYOL: a network predicts what its moving average says of the other view.",
       .make = make_byol,
       .takes_views = true},
      {.name = "dino",
       .data_kind = "image",
       .summary = "DINO: a network learns what its moving average says of larger crops.",
       .make = make_dino,
       .takes_views = true},
      {.name = "siamese",
       .data_kind = "image",
       .summary = "Siamese network: a map in which pictures of one label lie together.",
       .make = make_margin},
  };
  return entries;
}

}  // namespace

const std::vector<ModelEntry>& model_table() { return table(); }

void add_models(std::span<const ModelEntry> models) {
  for (const ModelEntry& added : models) {
    for (const ModelEntry& known : table()) {
      if (known.name == added.name) {
        throw usage_error("there are two models named '{}': Kiln's own, or another of this program",
                          added.name);
      }
    }
    table().push_back(added);
  }
}

const ModelEntry& find_model(const std::string& name) {
  std::vector<std::string> names;
  for (const ModelEntry& entry : model_table()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  if (name.empty()) {
    throw usage_error("model.name is missing. Known: {}", fmt::join(names, ", "));
  }
  throw Error(ExitCode::kUsage, unknown_name("model.name", name, names));
}

const std::vector<CountedModelEntry>& counted_model_table() {
  static const std::vector<CountedModelEntry> entries = {
      {"ngram", "n-gram models of a text dataset, on another one", make_ngram_evaluation},
  };
  return entries;
}

const std::vector<InterchangeFormat>& interchange_formats() {
  static const std::vector<InterchangeFormat> formats = [] {
    std::vector<InterchangeFormat> all;
    for (const ModelEntry& model : model_table()) {
      if (model.formats == nullptr) continue;
      for (InterchangeFormat& format : model.formats()) all.push_back(std::move(format));
    }
    return all;
  }();
  return formats;
}

}  // namespace kiln
