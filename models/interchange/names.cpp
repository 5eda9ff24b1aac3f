#include "models/interchange/names.h"

#include <fmt/format.h>

#include <set>

#include "core/base/error.h"
#include "core/torch.h"

namespace kiln {

void add_layer(NameTable& table, const std::string& ours, const std::string& theirs) {
  for (const char* part : {".weight", ".bias"}) table.push_back({ours + part, {theirs + part}});
}

void add_split_layer(NameTable& table, const std::string& ours,
                     const std::vector<std::string>& theirs) {
  for (const char* part : {".weight", ".bias"}) {
    NameRule rule{ours + part, {}, NameRule::Kind::kSplitRows};
    for (const std::string& name : theirs) rule.theirs.push_back(name + part);
    table.push_back(std::move(rule));
  }
}

std::vector<std::pair<std::string, at::Tensor>> to_theirs(const NameTable& table,
                                                          const NamedTensors& ours) {
  std::vector<std::pair<std::string, at::Tensor>> result;
  for (const NameRule& rule : table) {
    const auto found = ours.find(rule.ours);
    KILN_CHECK(found != ours.end(), "no tensor '{}' to export", rule.ours);
    const auto count = static_cast<std::int64_t>(rule.theirs.size());
    // One part may be a scalar, which has no rows to cut.
    const auto parts = rule.kind == NameRule::Kind::kCopies || count == 1
                           ? std::vector<at::Tensor>(rule.theirs.size(), found->second)
                           : found->second.chunk(count, 0);
    for (std::size_t i = 0; i < rule.theirs.size(); ++i) {
      result.emplace_back(rule.theirs[i], parts[i]);
    }
  }
  return result;
}

NamedTensors to_ours(const NameTable& table, const NamedTensors& theirs,
                     const std::string& origin) {
  NamedTensors result;
  std::set<std::string> used;
  std::vector<std::string> missing, unexpected, different;
  for (const NameRule& rule : table) {
    std::vector<at::Tensor> parts;
    for (const std::string& name : rule.theirs) {
      used.insert(name);
      const auto found = theirs.find(name);
      if (found == theirs.end()) {
        missing.push_back(name);
      } else {
        parts.push_back(found->second);
      }
    }
    if (parts.size() != rule.theirs.size()) continue;
    const bool is_copies = rule.kind == NameRule::Kind::kCopies;
    result[rule.ours] = parts.size() == 1 || is_copies ? parts[0] : at::cat(parts, 0);
    if (!is_copies) continue;
    for (std::size_t i = 1; i < parts.size(); ++i) {
      if (!parts[i].equal(parts[0])) different.push_back(rule.theirs[i]);
    }
  }
  for (const auto& [name, value] : theirs) {
    if (!used.contains(name)) unexpected.push_back(name);
  }
  std::string problems;
  if (!missing.empty()) problems += fmt::format("\n  missing: {}", join_names(missing));
  if (!unexpected.empty()) problems += fmt::format("\n  unexpected: {}", join_names(unexpected));
  if (!different.empty()) {
    problems += fmt::format("\n  not equal to its copy, of which this model has one: {}",
                            join_names(different));
  }
  if (!problems.empty()) {
    throw checkpoint_error("{} does not hold the tensors its config.json announces:{}", origin,
                           problems);
  }
  return result;
}

NamedTensors rename_aliases(const NamedTensors& theirs, const std::vector<NameAlias>& aliases) {
  NamedTensors result;
  for (const auto& [name, value] : theirs) {
    std::string renamed = name;
    for (const NameAlias& alias : aliases) {
      const std::size_t at = renamed.find(alias.found);
      if (at != std::string::npos) renamed.replace(at, alias.found.size(), alias.meant);
    }
    result[renamed] = value;
  }
  return result;
}

}  // namespace kiln
