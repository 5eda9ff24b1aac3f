#include "dist/tree_plan.h"

#include <algorithm>

#include "core/base/error.h"

namespace kiln {

Range TreeNode::leaves(std::int64_t num_leaves) const {
  return {std::min(index << level, num_leaves), std::min((index + 1) << level, num_leaves)};
}

TreeCounter::TreeCounter(Range own, std::int64_t num_leaves)
    : own_(own), num_leaves_(num_leaves), next_leaf_(own.begin) {
  KILN_CHECK(0 <= own.begin && own.begin <= own.end && own.end <= num_leaves);
}

int TreeCounter::push(TreeNode node) {
  const Range leaves = node.leaves(num_leaves_);
  KILN_CHECK(leaves.begin == next_leaf_ && leaves.size() > 0 && leaves.end <= own_.end,
             "sum of leaves [{}, {}) where leaf {} is next", leaves.begin, leaves.end, next_leaf_);
  next_leaf_ = leaves.end;
  stack_.push_back(node);
  int num_additions = 0;
  while (true) {
    const std::size_t before = stack_.size();
    if (!rise()) return num_additions;
    if (stack_.size() < before) ++num_additions;
  }
}

// Replaces the top node by its parent where all of the parent's leaves are at hand.
bool TreeCounter::rise() {
  const TreeNode top = stack_.back();
  const TreeNode parent{top.level + 1, top.index / 2};
  const Range leaves = parent.leaves(num_leaves_);
  const bool is_root = top.leaves(num_leaves_) == Range{0, num_leaves_};
  if (is_root || leaves.begin < own_.begin || leaves.end > next_leaf_) return false;
  if (top.index % 2 == 1) {
    stack_.pop_back();
    KILN_CHECK(!stack_.empty() && stack_.back() == (TreeNode{top.level, top.index - 1}));
  }
  stack_.back() = parent;
  return true;
}

std::vector<TreeNode> maximal_nodes(Range own, std::int64_t num_leaves) {
  TreeCounter counter(own, num_leaves);
  for (std::int64_t leaf = own.begin; leaf < own.end; ++leaf) counter.push({0, leaf});
  return counter.stack();
}

}  // namespace kiln
