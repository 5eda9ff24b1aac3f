#include "core/recipe/recipe_reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "core/base/nearest_name.h"
#include "core/recipe/overrides.h"

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

/// False when the node is of another type. An integer is accepted where a number is expected.
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

}  // namespace

struct RecipeReader::Impl {
  struct Read {
    std::string section, key, doc, text;  // text: TOML; empty when an optional is not set
    KeyKind kind;
    bool is_list = false;  // of tables, whose keys follow
  };
  std::string origin;
  toml::table root;
  std::vector<Read> reads;  // in order of reading
  std::vector<std::string> problems;
  std::vector<std::string> settled;  // tables

  const toml::node* find(const std::string& section, const std::string& key) const {
    return node_at(&root, section + "." + key);  // both may be dotted
  }
  Read* find_read(const std::string& section, const std::string& key) {
    for (Read& read : reads) {
      if (read.section == section && read.key == key) return &read;
    }
    return nullptr;
  }
  bool is_list(const std::string& section, const std::string& key) const {
    return std::ranges::any_of(reads, [&](const Read& read) {
      return read.is_list && read.section == section && read.key == key;
    });
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
  static std::string line(const std::string& key, const Read& read);
  std::string list_toml(const Read& list) const;
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
  apply_overrides(reader.impl_->root, overrides);
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

std::size_t RecipeReader::read_tables(const std::string& section, const std::string& key,
                                      std::size_t fallback, const char* doc, KeyKind kind) {
  if (!impl_->find_read(section, key)) {
    impl_->reads.push_back({section, key, doc, "", kind, /*is_list=*/true});
  }
  const toml::node* node = impl_->find(section, key);
  if (!node) return fallback;
  const toml::array* list = node->as_array();
  const bool holds_tables =
      list && std::ranges::all_of(*list, [](const toml::node& one) { return one.is_table(); });
  if (holds_tables) return list->size();
  problem(fmt::format("{}.{} should be a list of tables, each begun by [[{}.{}]] ({})", section,
                      key, section, key, doc));
  return fallback;
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
    if (is_list(section, key)) {
      for (std::size_t i = 0; node.is_array() && i < node.as_array()->size(); ++i) {
        const toml::table* nested = node.as_array()->get(i)->as_table();
        if (nested) check_unknown(section, *nested, fmt::format("{}.{}.", key, i), found);
      }
      continue;
    }
    if (std::ranges::find(known, key) != known.end()) continue;
    if (const toml::table* nested = node.as_table()) {
      if (std::ranges::find(settled, section + "." + key) != settled.end()) continue;
      check_unknown(section, *nested, key + ".", found);
      continue;
    }
    // A key that is not known here was most likely meant for a section that knows it.
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

std::string RecipeReader::Impl::line(const std::string& key, const Read& read) {
  const std::string line =
      read.text.empty() ? fmt::format("# {} =", key) : fmt::format("{} = {}", key, read.text);
  return fmt::format("{:<36} # {}\n", line, read.doc);
}

// [[section.key]] for each table: after the section's own keys, which a table's head would end.
std::string RecipeReader::Impl::list_toml(const Read& list) const {
  std::string text;
  std::string table;  // "views.0."
  for (const Read& read : reads) {
    if (read.section != list.section || !read.key.starts_with(list.key + ".")) continue;
    const std::size_t dot = read.key.find('.', list.key.size() + 1) + 1;
    if (read.key.substr(0, dot) != table) {
      table = read.key.substr(0, dot);
      text += fmt::format("\n[[{}.{}]]\n", list.section, list.key);
    }
    text += line(read.key.substr(dot), read);
  }
  return text.empty() ? fmt::format("# [[{}.{}]]  # {}\n", list.section, list.key, list.doc) : text;
}

std::string RecipeReader::resolved_toml() const {
  std::string text;
  std::vector<std::string> done;
  for (const Impl::Read& first : impl_->reads) {
    if (std::ranges::find(done, first.section) != done.end()) continue;
    done.push_back(first.section);
    text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", first.section);
    std::string lists;
    std::string list_key;  // keys that follow it are its tables'
    for (const Impl::Read& read : impl_->reads) {
      if (read.section != first.section) continue;
      if (read.is_list) {
        list_key = read.key + ".";
        lists += impl_->list_toml(read);
      } else if (list_key.empty() || !read.key.starts_with(list_key)) {
        text += Impl::line(read.key, read);
      }
    }
    text += lists;
  }
  return text;
}

std::map<std::string, std::string> RecipeReader::identity() const {
  std::map<std::string, std::string> values;
  for (const Impl::Read& read : impl_->reads) {
    // A list of tables is what its tables' keys say.
    if (read.kind == kIdentity && !read.is_list) values[read.section + "." + read.key] = read.text;
  }
  return values;
}

}  // namespace kiln
