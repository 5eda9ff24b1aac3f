#include "dist/local_communicator.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/base/error.h"
#include "dist/operation.h"

namespace kiln {
namespace {

void copy_unless_same(const at::Tensor& from, const at::Tensor& to) {
  if (from.data_ptr() != to.data_ptr()) to.copy_(from);
}

class LocalCommunicator final : public CommunicatorBase {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string name() const override { return "local"; }
  [[noreturn]] void abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  Work submit(Operation operation) override {
    if (operation.task) operation.task();
    if (operation.output.defined()) copy_unless_same(operation.input, operation.output);
    for (auto& transfer : operation.transfers) {
      auto& waiting = transfer.direction == Transfer::Direction::kSend ? sent_ : receiving_;
      waiting.push_back(transfer.tensor);
    }
    const std::size_t matched = std::min(sent_.size(), receiving_.size());
    for (std::size_t i = 0; i < matched; ++i) copy_unless_same(sent_[i], receiving_[i]);
    KILN_CHECK(sent_.size() == receiving_.size(),
               "a single rank must send itself and receive in the same exchange");
    sent_.clear();
    receiving_.clear();
    return {};
  }

  std::vector<at::Tensor> sent_;
  std::vector<at::Tensor> receiving_;
};

}  // namespace

std::unique_ptr<Communicator> make_local_communicator() {
  return std::make_unique<LocalCommunicator>();
}

}  // namespace kiln
