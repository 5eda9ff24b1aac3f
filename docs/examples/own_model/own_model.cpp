// A module of LibTorch, and what Kiln has to know of it: data parallel training on any number of
// ranks (mpirun -np N own_model train recipe.toml), with ZeRO-1, checkpoints and exact resume.
//
// B samples, H x W pixels, K classes.

#include <kiln/core/dataset_info.h>
#include <kiln/launch/main.h>
#include <kiln/models/layers/image_input.h>
#include <torch/nn.h>
#include <torch/utils.h>

namespace {

// --- the module: LibTorch's own layers, nothing of Kiln -------------------------------------------

struct Net : torch::nn::Module {
  torch::nn::Sequential layers;
  Net(std::int64_t channels, std::int64_t width, std::int64_t classes)
      : layers(torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, width, 3).padding(1)),
               torch::nn::ReLU(),
               torch::nn::Conv2d(torch::nn::Conv2dOptions(width, width, 3).stride(2).padding(1)),
               torch::nn::ReLU(), torch::nn::AdaptiveAvgPool2d(4), torch::nn::Flatten(),
               torch::nn::Linear(16 * width, classes)) {
    register_module("layers", layers);
  }
};

// --- the objective: the module with the loss that trains it ---------------------------------------

class Classifier final : public kiln::Objective {
 public:
  Classifier(std::shared_ptr<Net> net, kiln::PixelNormalisation pixels)
      : net_(std::move(net)), pixels_(std::move(pixels)) {}

  torch::nn::Module& module() override { return *net_; }

  // Losses of all micro-batches add up: each is divided by the samples of the global batch.
  void prepare(kiln::Batch& batch, std::uint64_t) const override {
    batch.denominators["samples"] = static_cast<double>(batch.num_samples);
  }

  // In order of execution, so that backward completes the last of them first.
  std::vector<kiln::Parameter> parameters(std::size_t) override {
    std::vector<kiln::Parameter> all;
    for (const auto& [name, tensor] : net_->named_parameters().pairs()) {
      all.push_back({.name = name, .tensor = tensor, .has_decay = tensor.dim() > 1});
    }
    return all;
  }

  std::optional<kiln::Loss> loss(const kiln::Batch& batch, const kiln::StepContext&,
                                 std::size_t) override {
    const at::Tensor x =
        pixels_.normalise(batch.at("image")).permute({0, 3, 1, 2});   // [B, C, H, W]
    const at::Tensor scores = net_->layers->forward(x.contiguous());  // [B, K]
    const at::Tensor label = batch.at("label");
    const at::Tensor sum = at::cross_entropy_loss(scores, label, {}, at::Reduction::Sum);
    const at::Tensor correct = scores.detach().argmax(1).eq(label).sum();
    return kiln::Loss{sum / batch.denominators.at("samples"),
                      {{"accuracy", {correct, static_cast<double>(batch.num_samples)}}}};
  }

 private:
  std::shared_ptr<Net> net_;
  kiln::PixelNormalisation pixels_;
};

// --- the row in the table of models ---------------------------------------------------------------

struct Options {  // [model] of a recipe
  std::string name;
  std::int64_t width = 16;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit("name", name, "The model.", kiln::kIdentity);
    visit("width", width, "Channels of the convolutions.", kiln::kIdentity);
  }
};

std::unique_ptr<kiln::Objective> make(kiln::RecipeReader& reader, const kiln::Recipe& recipe,
                                      const kiln::DatasetInfo& data) {
  Options options;
  reader.read("model", options);
  if (options.width < 1) reader.problem("model.width must be positive");
  if (data.class_names.empty()) reader.problem("own_model: the dataset has no classes");
  if (options.width < 1 || data.class_names.empty()) return nullptr;
  torch::manual_seed(static_cast<std::uint64_t>(recipe.run.seed));  // every rank draws the same
  return std::make_unique<Classifier>(
      std::make_shared<Net>(data.channels, options.width, std::ssize(data.class_names)),
      kiln::PixelNormalisation(data.mean, data.std));
}

const kiln::ModelEntry kModels[] = {{"own_model", "image", "A small convolutional net.", make}};

}  // namespace

int main(int argc, char** argv) { return kiln::kiln_main(argc, argv, kModels); }
