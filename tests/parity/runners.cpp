#include "tests/parity/runners.h"

#include <map>

namespace kiln::parity {
namespace {

const std::map<std::string, Runner>& table() {
  static const std::map<std::string, Runner> runners = {
      {"autoencoder_kl", run_autoencoder_kl},
      {"bert_mlm", run_bert},
      {"bert_pretraining", run_bert},
      {"diffusion_vlb", run_diffusion_vlb},
      {"dit", run_dit},
      {"optim", run_optim},
      {"schedulers", run_schedulers},
      {"sincos", run_sincos},
      {"tiny_ae_kl", run_tiny_ae_kl},
      {"tiny_ae_vq", run_tiny_ae_vq},
      {"tiny_bert", run_tiny_bert},
      {"tiny_dit_ls0", run_tiny_dit},
      {"tiny_dit_ls1", run_tiny_dit},
      {"tiny_mae", run_tiny_mae},
      {"tiny_unet", run_tiny_unet},
      {"train_bert", run_train_bert},
      {"train_vitmae_normpix", run_train_vit_mae},
      {"unet2d", run_unet2d},
      {"unet2dcond", run_unet2d_condition},
      {"vit_cls", run_vit_classifier},
      {"vitmae", run_vit_mae},
      {"vqmodel", run_vq_model},
      {"wordpiece", run_wordpiece},
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
