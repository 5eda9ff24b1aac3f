#include "dist/tree_exchange.h"

#include <utility>

#include "core/base/error.h"
#include "core/torch.h"
#include "dist/host_sum.h"

namespace kiln {
namespace {

// Every implementation rounds once per element, so host and device give the same bits. On the host
// only the communication thread adds: more threads would compete with those of backward.
void add_right(const at::Tensor& left, const at::Tensor& right) {
  if (left.is_cpu()) {
    add_into(left.data_ptr(), right.data_ptr(), left.numel(), at::kFloat);
  } else {
    left.add_(right);
  }
}

// Slices of all ranks' partial sums, from left to right, become the slice of the whole sum.
void add_along_tree(std::vector<at::Tensor> slices, const std::vector<TreeNode>& nodes,
                    std::int64_t num_leaves, const at::Tensor& result) {
  TreeCounter counter({0, num_leaves}, num_leaves);
  std::vector<at::Tensor> stack;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    stack.push_back(slices[i]);
    for (int additions = counter.push(nodes[i]); additions > 0; --additions) {
      const at::Tensor right = std::move(stack.back());
      stack.pop_back();
      add_right(stack.back(), right);
    }
  }
  KILN_CHECK(stack.size() == 1);
  if (stack[0].data_ptr() != result.data_ptr()) result.copy_(stack[0]);
}

}  // namespace

TreeExchange::TreeExchange(FlatParameters& flat, Communicator& communicator,
                           const ExchangeOptions& options)
    : BucketExchange(flat, communicator, options) {
  flat_.zero_gradients();
  for (std::size_t i = 0; i < flat_.buckets().size(); ++i) {
    buckets_.push_back({flat_.bucket_gradients(i), TreeCounter({}, 0), {}});
  }
}

Range TreeExchange::share(int rank) const {
  return share_of(options_.num_micro_batches, rank, communicator_.size());
}

void TreeExchange::start_step() {
  for (auto& bucket : buckets_) {
    bucket.counter = TreeCounter(share(communicator_.rank()), options_.num_micro_batches);
  }
}

at::Tensor& TreeExchange::buffer(Bucket& bucket, std::size_t depth) {
  if (depth == bucket.sums.size()) {
    bucket.sums.push_back(at::empty_like(bucket.gradients, at::kFloat));
  }
  return bucket.sums.at(depth);
}

void TreeExchange::take(std::size_t index, std::int64_t micro_batch) {
  Bucket& bucket = buckets_[index];
  std::size_t depth = bucket.counter.stack().size();
  int additions = bucket.counter.push({0, micro_batch});
  if (additions == 0) {
    buffer(bucket, depth).copy_(bucket.gradients);
  } else {
    // The leaf is added from flat memory, which saves a copy.
    bucket.sums[depth - 1].add_(bucket.gradients);
    for (--additions, --depth; additions > 0; --additions, --depth) {
      bucket.sums[depth - 1].add_(bucket.sums[depth]);
    }
  }
  bucket.gradients.zero_();
}

void TreeExchange::send(std::size_t index) {
  Bucket& bucket = buckets_[index];
  KILN_CHECK(bucket.counter.is_complete(), "micro-batch {} of this rank is missing",
             bucket.counter.next_leaf());
  const at::Tensor whole = buffer(bucket, 0);
  const int own_rank = communicator_.rank();
  const std::size_t num_own = bucket.counter.stack().size();

  std::vector<TreeNode> nodes;  // of all ranks, from left to right
  std::vector<at::Tensor> slices;
  std::vector<Transfer> transfers;
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const auto theirs = maximal_nodes(share(rank), options_.num_micro_batches);
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      nodes.push_back(theirs[i]);
      if (rank == own_rank) {
        slices.push_back(part(bucket.sums[i], own_rank));
      } else {
        slices.push_back(at::empty_like(part(whole, own_rank)));
        transfers.push_back({Transfer::Direction::kReceive, slices.back(), rank});
      }
    }
    for (std::size_t i = 0; i < num_own && rank != own_rank; ++i) {
      transfers.push_back({Transfer::Direction::kSend, part(bucket.sums[i], rank), rank});
    }
  }
  const at::Tensor result = part(whole, own_rank);
  add_work(communicator_.exchange(std::move(transfers)));
  add_work(communicator_.then([=, num_leaves = options_.num_micro_batches] {
    add_along_tree(slices, nodes, num_leaves, result);
  }));
  if (!options_.is_sharded) add_work(communicator_.all_gather(result, whole));
}

}  // namespace kiln
