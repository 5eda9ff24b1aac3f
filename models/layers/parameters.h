#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/recipe/recipe.h"
#include "core/types.h"

namespace torch::nn {
class Module;
}

namespace kiln {

using NamedTensors = std::map<std::string, at::Tensor>;

/// Appends to a model's list of trainable tensors, which is in order of execution. Decay is off for
/// vectors (biases, norms) and on for everything else.
void append_parameter(std::vector<Parameter>& list, const std::string& name,
                      const at::Tensor& tensor);
/// The same for all parameters of `module`, named PREFIX.name.
void append_parameters(std::vector<Parameter>& list, const std::string& prefix,
                       const torch::nn::Module& module);

/// Of weights and activations, as run.precision says.
at::ScalarType weights_type(const Recipe& recipe);

/// All parameters and buffers by name: the tensors themselves, not copies.
NamedTensors named_tensors(const torch::nn::Module& module);

/// Copies `values` into the module's tensors of the same names, converting their type. Throws
/// Error(kCheckpoint) that lists missing and unexpected names and shapes that differ; `origin` says
/// where the values come from. Nothing is changed in that case.
void load_tensors(torch::nn::Module& module, const NamedTensors& values, const std::string& origin);

/// "a, b, c and 12 more": at most `limit` names.
std::string join_names(const std::vector<std::string>& names, std::size_t limit = 8);

}  // namespace kiln
