#include "dist/operation.h"

#include <utility>

#include "core/base/error.h"

namespace kiln {
namespace {

void check_tensor(const at::Tensor& tensor, const char* operation) {
  KILN_CHECK(tensor.defined() && tensor.is_contiguous(), "{} takes contiguous tensors", operation);
}

void check_summable(const at::Tensor& tensor, const char* operation) {
  check_tensor(tensor, operation);
  const auto type = tensor.scalar_type();
  KILN_CHECK(
      type == at::kFloat || type == at::kDouble || type == at::kBFloat16 || type == at::kLong,
      "{} adds fp32, fp64, bf16 and int64, not {}", operation, c10::toString(type));
}

void check_parts(const at::Tensor& part, const at::Tensor& whole, int size, const char* operation) {
  KILN_CHECK(whole.numel() == part.numel() * size && whole.scalar_type() == part.scalar_type(),
             "{} over {} ranks: part {} x {}, whole {} x {}", operation, size, part.numel(),
             c10::toString(part.scalar_type()), whole.numel(), c10::toString(whole.scalar_type()));
}

std::size_t bytes_of(const Operation& operation) {
  if (operation.kind == Operation::Kind::kAllGather) return operation.output.nbytes();
  std::size_t bytes = operation.input.defined() ? operation.input.nbytes() : 0;
  for (const auto& transfer : operation.transfers) bytes += transfer.tensor.nbytes();
  return bytes;
}

}  // namespace

const char* name_of(Operation::Kind kind) {
  switch (kind) {
    case Operation::Kind::kAllReduce:
      return "all_reduce";
    case Operation::Kind::kReduceScatter:
      return "reduce_scatter";
    case Operation::Kind::kAllGather:
      return "all_gather";
    case Operation::Kind::kBroadcast:
      return "broadcast";
    case Operation::Kind::kExchange:
      return "exchange";
    case Operation::Kind::kBarrier:
      return "barrier";
    case Operation::Kind::kTask:
      return "task";
  }
  return "unknown operation";
}

std::string Operation::describe() const {
  return fmt::format("{} #{} ({} bytes)", name_of(kind), sequence, bytes_of(*this));
}

Work CommunicatorBase::all_reduce(at::Tensor tensor) {
  check_summable(tensor, "all_reduce");
  Operation operation{.kind = Operation::Kind::kAllReduce, .input = std::move(tensor)};
  return number_and_submit(std::move(operation));
}

Work CommunicatorBase::reduce_scatter(at::Tensor input, at::Tensor output) {
  check_summable(input, "reduce_scatter");
  check_summable(output, "reduce_scatter");
  check_parts(output, input, size(), "reduce_scatter");
  Operation operation{.kind = Operation::Kind::kReduceScatter,
                      .input = std::move(input),
                      .output = std::move(output)};
  return number_and_submit(std::move(operation));
}

Work CommunicatorBase::all_gather(at::Tensor input, at::Tensor output) {
  check_tensor(input, "all_gather");
  check_tensor(output, "all_gather");
  check_parts(input, output, size(), "all_gather");
  Operation operation{
      .kind = Operation::Kind::kAllGather, .input = std::move(input), .output = std::move(output)};
  return number_and_submit(std::move(operation));
}

Work CommunicatorBase::broadcast(at::Tensor tensor, int root) {
  check_tensor(tensor, "broadcast");
  KILN_CHECK(root >= 0 && root < size(), "broadcast from rank {} of {}", root, size());
  Operation operation{
      .kind = Operation::Kind::kBroadcast, .input = std::move(tensor), .root = root};
  return number_and_submit(std::move(operation));
}

Work CommunicatorBase::exchange(std::vector<Transfer> transfers) {
  std::erase_if(transfers, [](const Transfer& transfer) {
    return transfer.tensor.defined() && transfer.tensor.numel() == 0;
  });
  for (const auto& transfer : transfers) {
    check_tensor(transfer.tensor, "exchange");
    KILN_CHECK(transfer.peer >= 0 && transfer.peer < size(), "exchange with rank {} of {}",
               transfer.peer, size());
  }
  Operation operation{.kind = Operation::Kind::kExchange, .transfers = std::move(transfers)};
  return number_and_submit(std::move(operation));
}

void CommunicatorBase::barrier() { number_and_submit({.kind = Operation::Kind::kBarrier}).wait(); }

Work CommunicatorBase::then(std::function<void()> task) {
  Operation operation{.kind = Operation::Kind::kTask, .task = std::move(task)};
  return submit(std::move(operation));
}

Work CommunicatorBase::number_and_submit(Operation operation) {
  // A collective has the same number on all ranks, though not all take part in every exchange.
  operation.sequence = operation.is_collective() ? ++num_collectives_ : ++num_exchanges_;
  return submit(std::move(operation));
}

}  // namespace kiln
