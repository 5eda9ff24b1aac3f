#pragma once

#include <cstdint>
#include <vector>

#include "core/base/work.h"

namespace kiln {

/// The fixed binary tree over the micro-batches 0 .. M-1 of a step. Node (level, index) is the sum
/// of the leaves [index * 2^level, (index + 1) * 2^level), those beyond M left out; its children
/// are nodes (level - 1, 2 * index) and (level - 1, 2 * index + 1). A node without a right child is
/// its left child, unchanged: nothing is added to it, not even a zero.
struct TreeNode {
  int level = 0;
  std::int64_t index = 0;
  Range leaves(std::int64_t num_leaves) const;
  friend bool operator==(const TreeNode&, const TreeNode&) = default;
};

/// Adds up the nodes of a range of leaves that arrive from left to right, like a binary counter: at
/// any time the sums at hand are as few as possible. The caller keeps one buffer per node of
/// stack().
class TreeCounter {
 public:
  /// `own` within [0, num_leaves); only sums of leaves in `own` can be completed.
  TreeCounter(Range own, std::int64_t num_leaves);

  /// `node` begins where the stack ends. Returns how often the two rightmost sums are to be added,
  /// left + right into left, after the node's own sum has been put on top.
  int push(TreeNode node);

  const std::vector<TreeNode>& stack() const { return stack_; }
  /// The leaf that the next node must begin with.
  std::int64_t next_leaf() const { return next_leaf_; }
  bool is_complete() const { return next_leaf_ == own_.end; }

 private:
  bool rise();

  Range own_;
  std::int64_t num_leaves_;
  std::int64_t next_leaf_;
  std::vector<TreeNode> stack_;
};

/// What a TreeCounter over `own` holds in the end: the sums that a rank with these micro-batches
/// has to offer to the others, from left to right.
std::vector<TreeNode> maximal_nodes(Range own, std::int64_t num_leaves);

}  // namespace kiln
