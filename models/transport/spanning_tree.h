#pragma once

#include <cstdint>
#include <vector>

namespace kiln {

/// The basis of a network simplex on a complete bipartite graph: a rooted tree over n sources
/// (nodes 0 .. n-1) and m sinks (n .. n+m-1). A node stands for the arc to its parent, which always
/// runs from the source to the sink, and carries that arc's flow and the node's potential.
///
/// Invariant (strong feasibility): an arc without flow points to the root: its child is a source.
class SpanningTree {
 public:
  static constexpr std::int32_t kNone = -1;

  SpanningTree(std::int32_t num_sources, std::int32_t num_sinks);

  bool is_source(std::int32_t node) const { return node < num_sources_; }
  std::int32_t parent(std::int32_t node) const { return nodes_[index(node)].parent; }
  std::int64_t flow(std::int32_t node) const { return nodes_[index(node)].flow; }
  double potential(std::int32_t node) const { return potentials_[index(node)]; }
  const double* potentials() const { return potentials_.data(); }

  /// Makes `node` and its subtree a child of `parent`; `flow` on the arc between them. For building
  /// the first tree; potentials and depths are set by settle().
  void attach(std::int32_t node, std::int32_t parent, std::int64_t flow);
  /// The root of the tree that `node` is in.
  std::int32_t root_of(std::int32_t node) const;
  /// Turns the tree of `node` so that it is the root.
  void make_root(std::int32_t node);
  /// Depths, and potentials by which every arc of the tree has f + g = cost, from the root's 0 on.
  template <typename Cost>
  void settle(std::int32_t root, const Cost& cost);

  /// The arc source -> sink of reduced cost `reduced` < 0 enters; the arc that limits the flow
  /// around the circle leaves. Potentials follow.
  void pivot(std::int32_t source, std::int32_t sink, double reduced);

 private:
  struct Node {
    std::int64_t flow = 0;
    std::int32_t parent = kNone;
    std::int32_t depth = 0;
    std::int32_t first_child = kNone;
    std::int32_t next = kNone, previous = kNone;  // siblings
  };
  struct Leaving {
    std::int32_t node = kNone;
    std::int64_t flow = 0;
    bool is_on_sink_side = false;
    std::int32_t apex = kNone;
  };
  static std::size_t index(std::int32_t node) { return static_cast<std::size_t>(node); }
  Node& at(std::int32_t node) { return nodes_[index(node)]; }
  void detach(std::int32_t node);
  void link(std::int32_t node, std::int32_t parent);
  Leaving find_leaving(std::int32_t source, std::int32_t sink) const;
  void push(std::int32_t node, std::int32_t apex, std::int64_t flow, bool is_sink_side);
  void shift_subtree(std::int32_t top, double source_shift);
  /// The node after `node` in a walk through the subtree of `top`; kNone at its end.
  std::int32_t following(std::int32_t node, std::int32_t top) const;

  std::int32_t num_sources_;
  std::vector<Node> nodes_;
  std::vector<double> potentials_;
};

template <typename Cost>
void SpanningTree::settle(std::int32_t root, const Cost& cost) {
  potentials_[index(root)] = 0.0;
  at(root).depth = 0;
  for (std::int32_t node = following(root, root); node != kNone; node = following(node, root)) {
    const std::int32_t parent = at(node).parent;
    const double arc = is_source(node) ? cost(node, parent) : cost(parent, node);
    potentials_[index(node)] = arc - potentials_[index(parent)];
    at(node).depth = at(parent).depth + 1;
  }
}

}  // namespace kiln
