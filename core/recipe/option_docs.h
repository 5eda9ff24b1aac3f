#pragma once

#include <string>
#include <vector>

#include "core/recipe/options.h"

namespace kiln {

/// A key of an option struct and what its describe() says of it: for help texts.
struct OptionDoc {
  std::string name;
  std::string doc;
};

/// Collects them from describe().
struct OptionDocVisitor {
  std::vector<OptionDoc> docs;
  template <typename T>
  void operator()(const char* key, T&, const char* doc, KeyKind) {
    docs.push_back({key, doc});
  }
};

/// All keys of `Options`, in the order of describe().
template <typename Options>
std::vector<OptionDoc> option_docs() {
  OptionDocVisitor visitor;
  Options options;
  options.describe(visitor);
  return std::move(visitor.docs);
}

}  // namespace kiln
