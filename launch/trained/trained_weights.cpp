#include "launch/trained/trained_weights.h"

#include <optional>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint_reader.h"
#include "core/report/log.h"
#include "core/torch.h"
#include "models/interchange/huggingface.h"

namespace kiln {

struct TrainedWeights::Impl {
  std::optional<CheckpointReader> checkpoint;
  std::map<std::string, at::Tensor> tensors;  // of a Hugging Face folder
};

TrainedWeights::TrainedWeights() : impl_(std::make_unique<Impl>()) {}
TrainedWeights::~TrainedWeights() = default;
TrainedWeights::TrainedWeights(TrainedWeights&&) noexcept = default;
TrainedWeights& TrainedWeights::operator=(TrainedWeights&&) noexcept = default;

namespace {

std::vector<Parameter> all_parameters(Objective& objective) {
  std::vector<Parameter> all;
  for (std::size_t phase = 0; phase < objective.phases().size(); ++phase) {
    for (Parameter& parameter : objective.parameters(phase)) all.push_back(std::move(parameter));
  }
  return all;
}

bool fits(const TrainedWeights& source, const std::string& name, const at::Tensor& tensor) {
  return source.contains(name) && source.shape(name) == tensor.sizes().vec();
}

}  // namespace

TrainedWeights TrainedWeights::of(Objective& objective, const std::string& name) {
  TrainedWeights source;
  source.name_ = name;
  for (const Parameter& parameter : all_parameters(objective)) {
    source.impl_->tensors[parameter.name] = parameter.tensor.detach();
  }
  for (const Buffer& buffer : saved_buffers(objective)) {
    source.impl_->tensors["buffer/" + buffer.name] = buffer.tensor;
  }
  return source;
}

TrainedWeights TrainedWeights::open(const std::filesystem::path& path) {
  if (is_huggingface_folder(path)) {
    return of(*import_huggingface(path).objective,
              std::filesystem::path(path / "").parent_path().filename().string());
  }
  TrainedWeights source;
  source.impl_->checkpoint.emplace(open_checkpoint(path));
  source.step_ = source.impl_->checkpoint->step();
  source.name_ = source.impl_->checkpoint->folder().filename().string();
  return source;
}

bool TrainedWeights::contains(const std::string& name) const {
  return impl_->checkpoint ? impl_->checkpoint->contains(name) : impl_->tensors.contains(name);
}

at::Tensor TrainedWeights::read(const std::string& name, Range elements) const {
  if (impl_->checkpoint) return impl_->checkpoint->read(name, elements);
  const at::Tensor flat = impl_->tensors.at(name).reshape({-1});
  return flat.slice(0, elements.begin, elements.end).to(at::kFloat);
}

std::vector<std::int64_t> TrainedWeights::shape(const std::string& name) const {
  if (impl_->checkpoint) return impl_->checkpoint->manifest().tensors.at(name).shape;
  return impl_->tensors.at(name).sizes().vec();
}

std::string TrainedWeights::tokenizer_hash() const {
  if (!impl_->checkpoint) return "";
  const auto& identity = impl_->checkpoint->manifest().identity;
  const auto found = identity.find("data.tokenizer");
  return found == identity.end() ? "" : found->second;
}

void check_tokenizer(const TrainedWeights& source, const DatasetInfo& data) {
  const std::string trained_with = source.tokenizer_hash();
  const auto found = data.identity.find("tokenizer");
  if (trained_with.empty() || found == data.identity.end()) return;
  if (trained_with == found->second) return;
  throw data_error(
      "'{}' was trained with tokenizer {}, the text was made with {}: its ids mean other words. "
      "Import the text with the vocab.txt of the dataset the model was trained on",
      source.name(), trained_with, found->second);
}

std::function<at::Tensor(const std::string&, Range)> weights_or_initial(
    std::shared_ptr<const TrainedWeights> source, Objective& objective) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> initial;
  std::string names;
  std::size_t num_found = 0;
  for (Buffer& buffer : objective.buffers()) {
    if (!fits(*source, buffer.name, buffer.tensor)) continue;
    buffer.tensor.copy_(
        source->read(buffer.name, {0, buffer.tensor.numel()}).view(buffer.tensor.sizes()));
    ++num_found;
  }
  for (const Parameter& parameter : all_parameters(objective)) {
    if (fits(*source, parameter.name, parameter.tensor)) {
      ++num_found;
      continue;
    }
    initial[parameter.name] = parameter.tensor.detach().to(at::kCPU, at::kFloat).reshape({-1});
    names += (names.empty() ? "" : ", ") + parameter.name;
  }
  if (num_found == 0) {
    throw checkpoint_error("'{}' has no tensor of this model", source->name());
  }
  if (!initial.empty()) log_info("new, not in '{}': {}", source->name(), names);
  return [source, initial](const std::string& name, Range elements) {
    const auto found = initial.find(name);
    if (found == initial.end()) return source->read(name, elements);
    return found->second.slice(0, elements.begin, elements.end);
  };
}

void load_objective(const TrainedWeights& source, Objective& objective, bool prefer_average) {
  const at::NoGradGuard no_grad;
  std::string missing;
  const auto load = [&](const std::string& name, at::Tensor tensor) {
    if (!fits(source, name, tensor)) {
      missing += (missing.empty() ? "" : ", ") + name;
      return;
    }
    tensor.copy_(source.read(name, {0, tensor.numel()}).view(tensor.sizes()));
  };
  for (const Parameter& parameter : all_parameters(objective)) {
    const std::string average = "ema/" + parameter.name;
    load(prefer_average && source.contains(average) ? average : parameter.name, parameter.tensor);
  }
  for (const Buffer& buffer : saved_buffers(objective))
    load("buffer/" + buffer.name, buffer.tensor);
  if (!missing.empty()) {
    throw checkpoint_error("'{}' lacks tensors of this model, or has them in other shapes: {}",
                           source.name(), missing);
  }
}

}  // namespace kiln
