#include "dist/bucket_hooks.h"

#include <memory>
#include <utility>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {
namespace {

class GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  GradientHook(std::size_t entry, const void* home, std::function<void(std::size_t)> on_gradient)
      : entry_(entry), home_(home), on_gradient_(std::move(on_gradient)) {}

  void operator()(const torch::autograd::Variable& tensor) override {
    KILN_CHECK(tensor.grad().data_ptr() == home_,
               "gradient of entry {} left flat memory (was .grad reset?)", entry_);
    on_gradient_(entry_);
  }

 private:
  const std::size_t entry_;
  const void* const home_;  // of the gradient in flat memory
  const std::function<void(std::size_t)> on_gradient_;
};

}  // namespace

BucketHooks::BucketHooks(const FlatParameters& flat, std::function<void(std::size_t)> on_gradient)
    : tensors_(flat.tensors()) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const auto& entry = flat.entries()[i];
    const void* home = flat.gradients({entry.offset, entry.offset + entry.numel}).data_ptr();
    KILN_CHECK(torch::autograd::impl::post_acc_grad_hooks(tensors_[i]) == nullptr,
               "parameter {} is already exchanged by somebody else", entry.name);
    torch::autograd::impl::set_post_acc_grad_hooks(
        tensors_[i], std::make_unique<GradientHook>(i, home, on_gradient));
  }
}

BucketHooks::~BucketHooks() {
  for (const auto& tensor : tensors_) {
    torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
  }
}

}  // namespace kiln
