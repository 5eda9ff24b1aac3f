#pragma once

#include <memory>
#include <string>
#include <utility>

#include "core/torch.h"

namespace kiln {

/// Makes a Module(args...) and registers it with `owner` under `name`.
template <typename Module, typename... Args>
std::shared_ptr<Module> add(torch::nn::Module& owner, const std::string& name, Args&&... args) {
  return owner.register_module(name, std::make_shared<Module>(std::forward<Args>(args)...));
}

}  // namespace kiln
