#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "launch/run/conditions.h"
#include "launch/trained/loaded_model.h"
#include "models/diffusion/generate.h"

namespace kiln {

class AutoencoderObjective;

struct PictureOptions {
  GenerateOptions generate;
  std::string autoencoder;   // decodes latents; empty: model.autoencoder
  std::int64_t batch = 32;   // samples made together; part of the result's bits
  std::int64_t label = -1;   // -1: the classes in turn
  std::string context = {};  // dataset whose texts a model conditioned on text follows in turn
};

/// A diffusion model with what turns its samples into pictures. Throws Error(kUsage) before any
/// work is done for what cannot be: a sampler that does not fit, a class beyond the table, texts
/// that are missing or of another width, an autoencoder that is missing or another than the
/// latents'.
class PictureMaker {
 public:
  /// `model`, which must outlive this, is on `device`; `name` stands for it in messages.
  PictureMaker(LatentDiffusion& model, const std::string& name, const PictureOptions& options,
               at::Device device);

  struct Made {
    at::Tensor pictures;               // uint8 [batch, H, W, C] on the host
    std::vector<std::int64_t> labels;  // empty without classes
  };
  /// Pictures number first .. first + batch - 1.
  Made make(std::int64_t first);
  /// Latents as the autoencoder gives them, or pixels in [-1, 1], [B, C, H, W] -> uint8
  /// [B, H, W, C] on the host.
  at::Tensor decoded(const at::Tensor& x) const;

  LatentDiffusion& model() const { return model_; }
  at::Device device() const { return device_; }
  std::int64_t batch() const { return options_.batch; }
  std::vector<std::int64_t> shape_of(std::int64_t num) const;  // [num, H, W, C]
  bool has_labels() const;
  std::int64_t num_classes() const;
  const GenerateOptions& generate_options() const { return options_.generate; }

 private:
  void open_texts(const std::string& name);
  void load_autoencoder(const std::string& name);
  std::vector<std::int64_t> labels_from(std::int64_t first) const;

  LatentDiffusion& model_;
  PictureOptions options_;
  at::Device device_;
  std::optional<TextConditions> texts_;
  LoadedModel loaded_autoencoder_;
  AutoencoderObjective* autoencoder_ = nullptr;  // within loaded_autoencoder_; null for pixels
};

/// The model as one that draws. Throws Error(kUsage) for any other.
LatentDiffusion& diffusion_model(Objective& objective, const std::string& name);

/// Pictures 0 .. num - 1, each batch made by one rank: uint8 [num, H, W, C] on every rank.
/// Collective. `has_bar`: shows progress.
at::Tensor make_pictures(PictureMaker& maker, std::int64_t num, Communicator& communicator,
                         bool has_bar);

/// Pictures as one nearly square picture.
at::Tensor square_grid(const at::Tensor& pictures);

}  // namespace kiln
