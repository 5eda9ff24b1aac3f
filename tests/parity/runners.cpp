#include "tests/parity/runners.h"

#include <map>

namespace kiln::parity {
namespace {

const std::map<std::string, Runner>& table() {
  static const std::map<std::string, Runner> runners = {
      {"bert_mlm", run_bert},
      {"bert_pretraining", run_bert},
      {"tiny_bert", run_tiny_bert},
      {"train_bert", run_train_bert},
      {"wordpiece", run_wordpiece},
      {"optim", run_optim},
      {"sincos", run_sincos},
      {"tiny_mae", run_tiny_mae},
      {"train_vitmae_normpix", run_train_vit_mae},
      {"vit_cls", run_vit_classifier},
      {"vitmae", run_vit_mae},
  };
  return runners;
}

}  // namespace

Runner find_runner(const Case& reference) {
  // The case's own name comes first: train_... cases name the model's runner too.
  std::vector<std::string> keys = {reference.name};
  if (reference.info.contains("runner"))
    keys.push_back(reference.info["runner"].get<std::string>());
  for (const std::string& key : keys) {
    const auto found = table().find(key);
    if (found != table().end()) return found->second;
  }
  return nullptr;
}

}  // namespace kiln::parity
