#include "core/recipe/recipe_reader.h"

#include <fmt/ranges.h>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/nearest_name.h"

namespace kiln {

namespace {

// ---- values <-> TOML ----------------------------------------------------------------------------

template <typename T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, std::int64_t>) return "an integer";
  if constexpr (std::is_same_v<T, double>) return "a number";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) return "a list of integers";
  if constexpr (std::is_same_v<T, std::vector<double>>) return "a list of numbers";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "a list of strings";
}

/// False when the node is of another type. An integer is taken where a number is wanted.
template <typename T>
bool assign(const toml::node& node, T& out) {
  if constexpr (std::is_same_v<T, double>) {
    if (!node.is_number()) return false;
    out = *node.value<double>();
    return true;
  } else {
    const auto value = node.value_exact<T>();
    if (value) out = *value;
    return value.has_value();
  }
}

template <typename T>
bool assign(const toml::node& node, std::vector<T>& out) {
  const toml::array* array = node.as_array();
  if (!array) return false;
  std::vector<T> values(array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    T value{};
    if (!assign(*array->get(i), value)) return false;
    values[i] = value;
  }
  out = values;
  return true;
}

std::string to_text(bool value) { return value ? "true" : "false"; }
std::string to_text(std::int64_t value) { return std::to_string(value); }
std::string to_text(double value) {
  std::string text = fmt::format("{}", value);  // shortest that reads back the same
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}
std::string to_text(const std::string& value) {
  std::ostringstream out;
  out << toml::value<std::string>(value);
  return out.str();
}
template <typename T>
std::string to_text(const std::vector<T>& values) {
  std::vector<std::string> parts;
  for (const T& value : values) parts.push_back(to_text(value));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

template <typename T>
struct Unwrapped {
  using Type = T;
  static constexpr bool kOptional = false;
};
template <typename T>
struct Unwrapped<std::optional<T>> {
  using Type = T;
  static constexpr bool kOptional = true;
};

/// Empty text: an optional without a value.
template <typename T>
std::string member_text(const T& member) {
  if constexpr (Unwrapped<T>::kOptional) {
    return member ? to_text(*member) : std::string();
  } else {
    return to_text(member);
  }
}

// ---- overrides ----------------------------------------------------------------------------------

/// `section.key=value`: the value in TOML, or a bare word taken as a string.
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
  toml::table* table = root[section].as_table();
  if (!table) throw usage_error("'{}': [{}] is not a section of the recipe", word, section);
  // Dotted keys (data.fields.image) reach into nested tables.
  std::string leaf = key;
  for (auto at = leaf.find('.'); at != std::string::npos; at = leaf.find('.')) {
    const std::string head = leaf.substr(0, at);
    if (!table->contains(head)) table->insert(head, toml::table{});
    table = (*table)[head].as_table();
    if (!table) throw usage_error("'{}': '{}' is not a table of the recipe", word, head);
    leaf = leaf.substr(at + 1);
  }
  table->insert_or_assign(leaf, *parsed.get("value"));
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

struct RecipeReader::Impl {
  struct Read {
    std::string section, key, doc, text;  // text: TOML; empty when an optional is not set
    KeyKind kind;
  };
  std::string origin;
  toml::table root;
  std::vector<Read> reads;  // in order of reading
  std::vector<std::string> problems;
  std::vector<std::string> settled;  // tables

  const toml::node* find(const std::string& section, const std::string& key) const {
    const toml::table* table = root.at_path(section).as_table();
    if (!table) return nullptr;
    return table->at_path(key).node();
  }
  Read* find_read(const std::string& section, const std::string& key) {
    for (Read& read : reads) {
      if (read.section == section && read.key == key) return &read;
    }
    return nullptr;
  }
  std::vector<std::string> known_keys(const std::string& section) const {
    std::vector<std::string> keys;
    for (const Read& read : reads) {
      const std::string full = read.section + "." + read.key;
      if (full.starts_with(section + ".")) keys.push_back(full.substr(section.size() + 1));
    }
    return keys;
  }
  void check_unknown(const std::string& section, const toml::table& table,
                     const std::string& prefix, std::vector<std::string>& found) const;
  std::vector<std::string> all_problems() const;
};

RecipeReader::RecipeReader() : impl_(std::make_unique<Impl>()) {}
RecipeReader::~RecipeReader() = default;
RecipeReader::RecipeReader(RecipeReader&&) noexcept = default;
RecipeReader& RecipeReader::operator=(RecipeReader&&) noexcept = default;

RecipeReader RecipeReader::from_file(const std::filesystem::path& path,
                                     const std::vector<std::string>& overrides) {
  std::ifstream file(path);
  if (!file) {
    throw usage_error("recipe {} cannot be read: {}. Recipes are in configs/", path.string(),
                      std::filesystem::exists(path) ? "no permission" : "no such file");
  }
  std::ostringstream text;
  text << file.rdbuf();
  return from_text(text.str(), path.string(), overrides);
}

RecipeReader RecipeReader::from_text(std::string_view toml, const std::string& origin,
                                     const std::vector<std::string>& overrides) {
  RecipeReader reader;
  reader.impl_->origin = origin;
  try {
    reader.impl_->root = toml::parse(toml, origin);
  } catch (const toml::parse_error& error) {
    throw usage_error("{}:{}: not valid TOML: {}", origin, error.source().begin.line,
                      error.description());
  }
  for (const std::string& word : overrides) drop_alternatives(reader.impl_->root, word);
  for (const std::string& word : overrides) apply_override(reader.impl_->root, word);
  return reader;
}

std::string RecipeReader::peek(const std::string& section, const std::string& key,
                               const std::string& fallback) const {
  const toml::node* node = impl_->find(section, key);
  return node ? node->value_or(fallback) : fallback;
}

bool RecipeReader::has(const std::string& section, const std::string& key) const {
  return impl_->find(section, key) != nullptr;
}

std::vector<std::string> RecipeReader::tables(const std::string& section) const {
  std::vector<std::string> names;
  const toml::table* table = impl_->root.at_path(section).as_table();
  if (!table) return names;
  for (const auto& [name, node] : *table) {
    if (node.is_table()) names.emplace_back(name.str());
  }
  return names;
}

void RecipeReader::settle(const std::string& table) { impl_->settled.push_back(table); }

void RecipeReader::problem(std::string message) { impl_->problems.push_back(std::move(message)); }

void RecipeReader::read_key(const std::string& section, const std::string& key, Value member,
                            const char* doc, KeyKind kind) {
  std::visit(
      [&](auto* out) {
        using Member = std::remove_pointer_t<decltype(out)>;
        using Plain = typename Unwrapped<Member>::Type;
        if (const toml::node* node = impl_->find(section, key)) {
          Plain value{};
          if (assign(*node, value)) {
            *out = value;
          } else {
            std::ostringstream found;
            found << toml::node_view<const toml::node>(node);
            problem(fmt::format("{}.{} = {} should be {} ({})", section, key, found.str(),
                                type_name<Plain>(), doc));
          }
        }
        if (!impl_->find_read(section, key)) {
          impl_->reads.push_back({section, key, doc, member_text(*out), kind});
        }
      },
      member);
}

void RecipeReader::update_key(const std::string& section, const std::string& key, Value member) {
  Impl::Read* read = impl_->find_read(section, key);
  KILN_CHECK(read, "{}.{} is updated before it is read", section, key);
  std::visit([&](auto* value) { read->text = member_text(*value); }, member);
}

void RecipeReader::Impl::check_unknown(const std::string& section, const toml::table& table,
                                       const std::string& prefix,
                                       std::vector<std::string>& found) const {
  const std::vector<std::string> known = known_keys(section);
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (std::ranges::find(known, key) != known.end()) continue;
    if (const toml::table* nested = node.as_table()) {
      if (std::ranges::find(settled, section + "." + key) != settled.end()) continue;
      check_unknown(section, *nested, key + ".", found);
      continue;
    }
    // The same key in another section is the likeliest meaning of a key that is not known here.
    std::string hint = did_you_mean(key, known);
    for (const Read& read : reads) {
      if (read.key == key) hint = fmt::format("; did you mean {}.{}?", read.section, key);
    }
    found.push_back(fmt::format("{}.{} is not a key{}", section, key, hint));
  }
}

std::vector<std::string> RecipeReader::Impl::all_problems() const {
  std::vector<std::string> found = problems;
  std::vector<std::string> sections;
  for (const Read& read : reads) {
    if (std::ranges::find(sections, read.section) == sections.end())
      sections.push_back(read.section);
  }
  for (const auto& [name, node] : root) {
    const std::string section(name.str());
    const toml::table* table = node.as_table();
    if (!table) {
      found.push_back(fmt::format("'{}' stands outside any section", section));
    } else if (std::ranges::find(sections, section) == sections.end()) {
      const std::string hint = did_you_mean(section, sections);
      found.push_back(fmt::format(
          "[{}] is not a section{}", section,
          hint.empty() ? fmt::format("; there are {}", fmt::join(sections, ", ")) : hint));
    } else {
      check_unknown(section, *table, "", found);
    }
  }
  return found;
}

void RecipeReader::finish() const {
  const std::vector<std::string> problems = impl_->all_problems();
  if (problems.empty()) return;
  if (problems.size() == 1) throw usage_error("recipe {}: {}", impl_->origin, problems[0]);
  throw usage_error("recipe {} has {} mistakes:\n  {}", impl_->origin, problems.size(),
                    fmt::join(problems, "\n  "));
}

std::string RecipeReader::resolved_toml() const {
  std::string text;
  std::vector<std::string> done;
  for (const Impl::Read& first : impl_->reads) {
    if (std::ranges::find(done, first.section) != done.end()) continue;
    done.push_back(first.section);
    text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", first.section);
    for (const Impl::Read& read : impl_->reads) {
      if (read.section != first.section) continue;
      const std::string line = read.text.empty() ? fmt::format("# {} =", read.key)
                                                 : fmt::format("{} = {}", read.key, read.text);
      text += fmt::format("{:<36} # {}\n", line, read.doc);
    }
  }
  return text;
}

std::map<std::string, std::string> RecipeReader::identity() const {
  std::map<std::string, std::string> values;
  for (const Impl::Read& read : impl_->reads) {
    if (read.kind == kIdentity) values[read.section + "." + read.key] = read.text;
  }
  return values;
}

}  // namespace kiln
