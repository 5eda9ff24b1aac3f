#include "core/recipe/overrides.h"

#include <algorithm>
#include <sstream>

#include "core/base/error.h"

namespace kiln {

namespace {

std::vector<std::string> split(const std::string& key) {
  std::vector<std::string> parts;
  std::istringstream stream(key);
  for (std::string part; std::getline(stream, part, '.');) parts.push_back(part);
  return parts;
}

bool is_index(const std::string& part) {
  return !part.empty() && part.size() < 6 &&
         std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
}

/// The table or list called `part` in a table, or its number in a list of tables; made where it is
/// missing, in a list only as the next one.
toml::node& step_into(toml::node& node, const std::string& part, bool holds_list,
                      const std::string& word) {
  if (toml::table* table = node.as_table()) {
    if (!table->contains(part)) {
      if (holds_list) {
        table->insert(part, toml::array{});
      } else {
        table->insert(part, toml::table{});
      }
    }
    return *table->get(part);
  }
  toml::array* list = node.as_array();
  if (!list || !is_index(part)) {
    throw usage_error("'{}': '{}' is not in a table of the recipe", word, part);
  }
  const auto index = static_cast<std::size_t>(std::stoul(part));
  if (index > list->size()) {
    throw usage_error("'{}': the recipe has {} of these tables, 0 to {}; the next is {}", word,
                      list->size(), static_cast<std::int64_t>(list->size()) - 1, list->size());
  }
  if (index == list->size()) list->push_back(toml::table{});
  return *list->get(index);
}

void apply_override(toml::table& root, const std::string& word) {
  const auto equals = word.find('=');
  const auto dot = word.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
    throw usage_error(
        "'{}' is not an override; write section.key=value, e.g. train.global_batch=512", word);
  }
  const std::string section = word.substr(0, dot);
  const std::string key = word.substr(dot + 1, equals - dot - 1);
  const std::string value = word.substr(equals + 1);
  toml::table parsed;
  try {
    parsed = toml::parse("value = " + value);
  } catch (const toml::parse_error&) {
    parsed.insert_or_assign("value", value);
  }
  if (!root.contains(section)) root.insert(section, toml::table{});
  if (!root[section].is_table()) {
    throw usage_error("'{}': [{}] is not a section of the recipe", word, section);
  }
  // Dotted keys reach into nested tables (data.fields.image) and lists of them (data.views.0.size).
  const std::vector<std::string> parts = split(key);
  toml::node* node = root.get(section);
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    node = &step_into(*node, parts[i], is_index(parts[i + 1]), word);
  }
  toml::table* table = node->as_table();
  if (!table) throw usage_error("'{}': '{}' stands in a list, not a table", word, parts.back());
  table->insert_or_assign(parts.back(), *parsed.get("value"));
}

/// Keys of which a recipe gives exactly one.
const std::vector<std::vector<std::string>> kAlternatives = {
    {"train.samples", "train.steps", "train.epochs"}, {"optimizer.lr", "optimizer.base_lr"}};

/// An override of one of several alternatives takes the place of the one in the file.
void drop_alternatives(toml::table& root, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  for (const auto& group : kAlternatives) {
    if (std::ranges::find(group, name) == group.end()) continue;
    for (const std::string& other : group) {
      const auto dot = other.find('.');
      if (toml::table* table = root[other.substr(0, dot)].as_table()) {
        table->erase(other.substr(dot + 1));
      }
    }
  }
}

}  // namespace

void apply_overrides(toml::table& root, const std::vector<std::string>& words) {
  for (const std::string& word : words) drop_alternatives(root, word);
  for (const std::string& word : words) apply_override(root, word);
}

const toml::node* node_at(const toml::node* node, const std::string& key) {
  for (const std::string& part : split(key)) {
    if (!node) return nullptr;
    if (const toml::table* table = node->as_table()) {
      node = table->get(part);
    } else if (const toml::array* list = node->as_array(); list && is_index(part)) {
      node = list->get(std::stoul(part));
    } else {
      return nullptr;
    }
  }
  return node;
}

}  // namespace kiln
