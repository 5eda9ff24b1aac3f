#include "launch/trained/loaded_model.h"

#include "core/base/hash.h"
#include "core/torch.h"
#include "launch/trained/eval_target.h"
#include "models/interchange/huggingface.h"

namespace kiln {

LoadedModel load_model(const std::filesystem::path& path,
                       const std::vector<std::string>& overrides) {
  LoadedModel model;
  if (is_huggingface_folder(path)) {
    ImportedModel imported = import_huggingface(path);
    model.objective = std::move(imported.objective);
    model.data = std::move(imported.data);
    model.name = path.filename().string();
  } else {
    EvalTarget target = open_target({.path = path.string(), .overrides = overrides});
    model.objective = std::move(target.objective);
    model.name = target.name;
    model.run_folder = target.run_folder;
    model.data = target.data.info;
  }
  model.objective->module().eval();
  return model;
}

std::string hash_of_weights(Objective& objective) {
  std::map<std::string, Digest> digests;
  for (const Parameter& parameter : objective.parameters(0)) {
    const at::Tensor bytes = parameter.tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    digests[parameter.name] = hash_bytes(bytes.const_data_ptr(), bytes.nbytes());
  }
  return weights_hash(digests);
}

}  // namespace kiln
