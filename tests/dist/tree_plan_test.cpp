#include "dist/tree_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kiln {
namespace {

// Values whose sums round differently in every order.
float leaf_value(std::int64_t leaf) {
  return static_cast<float>(std::sin(1.0 + 3.7 * static_cast<double>(leaf)));
}

// The definition: neighbours are added level by level, an odd last one moves up unchanged.
float sum_level_by_level(std::int64_t num_leaves) {
  std::vector<float> level;
  for (std::int64_t leaf = 0; leaf < num_leaves; ++leaf) level.push_back(leaf_value(leaf));
  while (level.size() > 1) {
    std::vector<float> above;
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) above.push_back(level[i] + level[i + 1]);
    if (level.size() % 2 == 1) above.push_back(level.back());
    level = above;
  }
  return level[0];
}

// Pushes node after node with its value; returns the values on the stack in the end.
std::vector<float> add_up(TreeCounter& counter, const std::vector<TreeNode>& nodes,
                          const std::vector<float>& values) {
  std::vector<float> stack;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    stack.push_back(values[i]);
    for (int additions = counter.push(nodes[i]); additions > 0; --additions) {
      const float right = stack.back();
      stack.pop_back();
      stack.back() = stack.back() + right;
    }
  }
  EXPECT_TRUE(counter.is_complete());
  EXPECT_EQ(stack.size(), counter.stack().size());
  return stack;
}

float sum_over_ranks(std::int64_t num_leaves, std::int64_t num_ranks) {
  std::vector<TreeNode> nodes;
  std::vector<float> sums;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    const Range own = share_of(num_leaves, rank, num_ranks);
    std::vector<TreeNode> leaves;
    std::vector<float> values;
    for (std::int64_t leaf = own.begin; leaf < own.end; ++leaf) {
      leaves.push_back({0, leaf});
      values.push_back(leaf_value(leaf));
    }
    TreeCounter counter(own, num_leaves);
    const auto partial = add_up(counter, leaves, values);
    EXPECT_EQ(counter.stack(), maximal_nodes(own, num_leaves));
    nodes.insert(nodes.end(), counter.stack().begin(), counter.stack().end());
    sums.insert(sums.end(), partial.begin(), partial.end());
  }
  TreeCounter counter({0, num_leaves}, num_leaves);
  return add_up(counter, nodes, sums).at(0);
}

TEST(TreePlan, SameBitsOnAnyNumberOfRanks) {
  for (std::int64_t num_leaves = 1; num_leaves <= 128; ++num_leaves) {
    const float expected = sum_level_by_level(num_leaves);
    for (std::int64_t num_ranks = 1; num_ranks <= num_leaves + 2; ++num_ranks) {
      ASSERT_EQ(sum_over_ranks(num_leaves, num_ranks), expected)
          << num_leaves << " micro-batches on " << num_ranks << " ranks";
    }
  }
}

TEST(TreePlan, AlignedPowersOfTwoSendOneSumEach) {
  for (std::int64_t num_ranks = 1; num_ranks <= 64; num_ranks *= 2) {
    for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
      EXPECT_EQ(maximal_nodes(share_of(64, rank, num_ranks), 64).size(), 1u);
    }
  }
}

TEST(TreePlan, HoldsOneSumPerLevelAtMost) {
  TreeCounter counter({0, 128}, 128);
  for (std::int64_t leaf = 0; leaf < 128; ++leaf) {
    counter.push({0, leaf});
    EXPECT_LE(counter.stack().size(), 7u) << leaf;
  }
  EXPECT_EQ(counter.stack().size(), 1u);
}

TEST(TreePlan, RejectsALeafOutOfOrder) {
  TreeCounter counter({2, 6}, 8);
  counter.push({0, 2});
  EXPECT_THROW(counter.push({0, 4}), std::logic_error);
}

}  // namespace
}  // namespace kiln
