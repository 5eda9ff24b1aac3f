#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "launch/trained/trained_model.h"
#include "models/capabilities.h"

namespace kiln {

struct PictureOptions {
  std::map<std::string, std::string> drawing = {};  // the generator's own: key of [draw] -> value
  std::uint64_t seed = 0;
  std::int64_t batch = 32;   // pictures made together; part of the result's bits
  std::int64_t label = -1;   // -1: the classes in turn
  std::string context = {};  // dataset whose texts a model that draws by texts follows in turn
};

/// Texts that pictures are to follow: the rows of a dataset's field "context", over and over.
class TextConditions {
 public:
  /// Throws Error(kData) if the dataset has none.
  explicit TextConditions(const std::string& path);
  const BatchSource& source() const { return *source_; }
  /// Of pictures number first .. first + count - 1: float16 [count, S, E]. Picture number n follows
  /// row n modulo the number of rows.
  at::Tensor rows(std::int64_t first, std::int64_t count) const;

 private:
  std::shared_ptr<const BatchSource> source_;
};

/// A generator with what it follows and what turns its latents into pictures. Throws Error(kUsage)
/// before any work is done for what cannot be: options that do not fit, a class beyond the table,
/// texts that are missing or of another width, an autoencoder that is missing or another than the
/// latents'.
class PictureMaker {
 public:
  /// `objective`, which must outlive this, is on `device`; `name` stands for it in messages.
  PictureMaker(Objective& objective, const std::string& name, const PictureOptions& options,
               at::Device device);

  struct Made {
    at::Tensor pictures;               // uint8 [batch, H, W, C] on the host
    std::vector<std::int64_t> labels;  // empty without classes
  };
  /// Pictures number first .. first + batch - 1.
  Made make(std::int64_t first);

  PictureGenerator& generator() const { return generator_; }
  std::int64_t batch() const { return options_.batch; }
  std::vector<std::int64_t> shape_of(std::int64_t num) const;  // [num, H, W, C]
  bool has_labels() const { return num_classes() > 0; }
  std::int64_t num_classes() const { return needed_.num_classes; }

 private:
  void configure();
  void check_label(const std::string& name) const;
  void open_texts(const Objective& objective, const std::string& name);
  void load_codec(const std::string& name, at::Device device);
  std::vector<std::int64_t> labels_from(std::int64_t first) const;

  PictureGenerator& generator_;
  PictureOptions options_;
  PictureGenerator::Requirements needed_;
  std::optional<TextConditions> texts_;
  std::optional<TrainedModel> codec_;  // of a generator with latents
};

/// Where a model that draws by texts finds them when it is given none: eval.path, or data.path where
/// that is not set. Empty for other models.
std::string texts_of_recipe(const PictureGenerator& generator, const RecipeReader& reader,
                            const Recipe& recipe);

/// Pictures 0 .. num - 1, each batch made by one rank: uint8 [num, H, W, C] on every rank.
/// Collective. `has_bar`: shows progress.
at::Tensor make_pictures(PictureMaker& maker, std::int64_t num, Communicator& communicator,
                         bool has_bar);

/// Pictures as one nearly square picture.
at::Tensor square_grid(const at::Tensor& pictures);

}  // namespace kiln
