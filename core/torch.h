#pragma once

// What Kiln uses of LibTorch: tensors, autograd and modules, under the names of namespace torch.
// <torch/torch.h> adds layers, optimizers, data loaders and serialisation, of which Kiln has its
// own or includes the one it wants, and makes every file that sees it compile a second longer.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/nn/module.h>
#include <torch/types.h>
