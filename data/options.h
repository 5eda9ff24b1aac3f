#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/recipe/options.h"
#include "data/view_options.h"

namespace kiln {

/// [data]: what every kind of data shares.
struct DataOptions {
  std::string path;
  std::int64_t workers = 0;
  bool shuffle = true;
  std::int64_t shuffle_shards = 16;
  std::optional<std::string> image_path, label_path, tokens_path, moments_path;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("path", path, "Dataset folder, or HDF5 files made by others (then give data.fields).",
          kExecution);
    visit("workers", workers, "Threads that read and decode, per rank; 0: one per core it has.",
          kExecution);
    visit("shuffle", shuffle, "Another order each epoch; false: the order of the dataset.",
          kIdentity);
    visit("shuffle_shards", shuffle_shards, "Shards whose samples are mixed with each other.",
          kIdentity);
    visit("fields.image", image_path, "Path of the images within HDF5 files made by others.",
          kIdentity);
    visit("fields.label", label_path, "Path of the labels within them.", kIdentity);
    visit("fields.tokens", tokens_path, "Path of the token ids within them.", kIdentity);
    visit("fields.moments", moments_path, "Path of the latents within them.", kIdentity);
  }
};

/// [data] for images.
struct ImageOptions {
  std::int64_t size = 0;
  std::string crop = "none";
  std::vector<double> crop_scale = {0.2, 1.0};
  std::vector<double> crop_ratio = {3.0 / 4.0, 4.0 / 3.0};
  bool flip = false;
  std::vector<double> mean;
  std::vector<double> std;
  std::vector<ViewOptions> views;
  // No key: bicubic, and in an evaluation that of the views' first group.
  std::string interpolation = "bicubic";

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("size", size, "Side of the square images the model sees; 0: as stored.", kIdentity);
    visit("crop", crop, "random_resized | center | none", kIdentity);
    visit("crop_scale", crop_scale, "random_resized: range of the crop's share of the area.",
          kIdentity);
    visit("crop_ratio", crop_ratio, "random_resized: range of width / height.", kIdentity);
    visit("flip", flip, "Mirrors every second image, left to right.", kIdentity);
    visit("mean", mean, "Per channel, of values in [0, 1]; default: the dataset's.", kIdentity);
    visit("std", std, "Per channel; default: the dataset's.", kIdentity);
    visit("views", views, "Groups of views of each picture, instead of one crop: docs/datasets.md.",
          kIdentity);
  }
};

class RecipeReader;
/// Gives views without a size that of data.size.
void resolve_views(ImageOptions& options);
/// Adds what is wrong with the values to the reader's problems; false when anything is.
bool check(const DataOptions& options, RecipeReader& reader);
bool check(const ImageOptions& options, RecipeReader& reader);

}  // namespace kiln
