#include "launch/run/conditions.h"

#include <vector>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/latents/context_source.h"
#include "models/diffusion/objective.h"

namespace kiln {

void check_conditions(Objective& objective, const BatchSource& data, const std::string& path) {
  const auto* model = dynamic_cast<LatentDiffusion*>(&objective);
  if (model == nullptr) return;
  const std::string& conditioning = model->options().conditioning;
  const Batch sample = data.allocate(1);
  if (conditioning == "class" && !sample.tensors.contains("label")) {
    throw usage_error(
        "model.conditioning = \"class\", but the samples of '{}' come without labels; leave "
        "model.num_classes out, or import images from a folder for each class",
        path);
  }
  if (conditioning != "text") return;
  const auto found = sample.tensors.find("context");
  if (found == sample.tensors.end()) {
    throw usage_error(
        "model.conditioning = \"text\", but the samples of '{}' come without field 'context'; "
        "encode the images again with `kiln encode ... --context EMBEDDINGS`",
        path);
  }
  const std::int64_t width = found->second.size(2), expected = model->options().context_dim;
  if (width != expected) {
    throw usage_error("the embeddings of '{}' have width {}, the model takes {}: model.context_dim",
                      path, width, expected);
  }
}

std::string texts_of_recipe(const LatentDiffusion& model, const RecipeReader& reader,
                            const Recipe& recipe) {
  if (model.options().conditioning != "text") return "";
  return recipe.eval.path.empty() ? reader.peek("data", "path", "") : recipe.eval.path;
}

TextConditions::TextConditions(const std::string& path)
    : source_(make_context_source(std::make_shared<const Dataset>(path))) {}

at::Tensor TextConditions::rows(std::int64_t first, std::int64_t count) const {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back((first + i) % source_->num_samples());
  Batch batch = source_->allocate(count);
  source_->read(ids, 0, batch, 0);
  return batch.at("context");
}

}  // namespace kiln
