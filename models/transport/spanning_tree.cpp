#include "models/transport/spanning_tree.h"

#include <limits>

namespace kiln {

SpanningTree::SpanningTree(std::int32_t num_sources, std::int32_t num_sinks)
    : num_sources_(num_sources),
      nodes_(index(num_sources + num_sinks)),
      potentials_(index(num_sources + num_sinks), 0.0) {}

void SpanningTree::link(std::int32_t node, std::int32_t parent) {
  Node& child = at(node);
  child.parent = parent;
  child.previous = kNone;
  child.next = at(parent).first_child;
  if (child.next != kNone) at(child.next).previous = node;
  at(parent).first_child = node;
}

void SpanningTree::detach(std::int32_t node) {
  Node& child = at(node);
  if (child.previous != kNone) {
    at(child.previous).next = child.next;
  } else {
    at(child.parent).first_child = child.next;
  }
  if (child.next != kNone) at(child.next).previous = child.previous;
  child.parent = kNone;
}

void SpanningTree::attach(std::int32_t node, std::int32_t parent, std::int64_t flow) {
  link(node, parent);
  at(node).flow = flow;
}

std::int32_t SpanningTree::root_of(std::int32_t node) const {
  while (parent(node) != kNone) node = parent(node);
  return node;
}

void SpanningTree::make_root(std::int32_t node) {
  std::int32_t child = node, above = at(node).parent;
  std::int64_t flow = at(node).flow;
  if (above != kNone) detach(node);
  while (above != kNone) {  // the arc child - above turns round: above becomes the child
    const std::int32_t next = at(above).parent;
    if (next != kNone) detach(above);
    link(above, child);
    std::swap(at(above).flow, flow);
    child = above;
    above = next;
  }
}

std::int32_t SpanningTree::following(std::int32_t node, std::int32_t top) const {
  if (nodes_[index(node)].first_child != kNone) return nodes_[index(node)].first_child;
  while (node != top) {
    const Node& here = nodes_[index(node)];
    if (here.next != kNone) return here.next;
    node = here.parent;
  }
  return kNone;
}

/// Around the circle: from the apex down to `source`, over the new arc, from `sink` up to the apex.
/// Arcs passed against their direction lose flow. Of those that limit it the last one leaves, which
/// keeps the tree strongly feasible.
SpanningTree::Leaving SpanningTree::find_leaving(std::int32_t source, std::int32_t sink) const {
  Leaving leaving;
  leaving.flow = std::numeric_limits<std::int64_t>::max();
  std::int32_t s = source, t = sink;
  const auto climb_from_source = [&] {
    const Node& node = nodes_[index(s)];
    if (is_source(s) && node.flow < leaving.flow) {  // of ties the one nearest the source,
      leaving = {.node = s, .flow = node.flow, .is_on_sink_side = false};
    }
    s = node.parent;
  };
  const auto climb_from_sink = [&] {
    const Node& node = nodes_[index(t)];
    if (!is_source(t) && node.flow <= leaving.flow) {  // but first the one nearest the apex
      leaving = {.node = t, .flow = node.flow, .is_on_sink_side = true};
    }
    t = node.parent;
  };
  while (s != t) {
    const std::int32_t depth_s = nodes_[index(s)].depth, depth_t = nodes_[index(t)].depth;
    if (depth_s >= depth_t) climb_from_source();
    if (depth_t >= depth_s) climb_from_sink();
  }
  leaving.apex = s;
  return leaving;
}

void SpanningTree::push(std::int32_t node, std::int32_t apex, std::int64_t flow,
                        bool is_sink_side) {
  for (; node != apex; node = at(node).parent) {
    at(node).flow += is_source(node) == is_sink_side ? flow : -flow;
  }
}

void SpanningTree::shift_subtree(std::int32_t top, double source_shift) {
  const double shifts[2] = {-source_shift, source_shift};
  at(top).depth = at(at(top).parent).depth + 1;
  potentials_[index(top)] += shifts[is_source(top)];
  for (std::int32_t node = following(top, top); node != kNone; node = following(node, top)) {
    at(node).depth = at(at(node).parent).depth + 1;
    potentials_[index(node)] += shifts[is_source(node)];
  }
}

void SpanningTree::pivot(std::int32_t source, std::int32_t sink, double reduced) {
  const Leaving leaving = find_leaving(source, sink);
  if (leaving.flow > 0) {
    push(source, leaving.apex, leaving.flow, false);
    push(sink, leaving.apex, leaving.flow, true);
  }
  detach(leaving.node);
  const std::int32_t moved = leaving.is_on_sink_side ? sink : source;
  make_root(moved);
  attach(moved, leaving.is_on_sink_side ? source : sink, leaving.flow);
  shift_subtree(moved, leaving.is_on_sink_side ? -reduced : reduced);
}

}  // namespace kiln
