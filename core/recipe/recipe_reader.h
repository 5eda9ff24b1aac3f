#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/recipe/options.h"
#include "core/recipe/recipe.h"

namespace kiln {

/// Reads the sections of a recipe (TOML, with `section.key=value` overrides) into option structs
/// and collects every mistake, so that a user sees them all at once with the nearest known names.
///
///   RecipeReader reader = RecipeReader::from_file(path, overrides);
///   reader.read("train", recipe.train);
///   ...
///   reader.finish();   // throws one Error(kUsage) that lists all problems
class RecipeReader {
 public:
  static RecipeReader from_file(const std::filesystem::path& path,
                                const std::vector<std::string>& overrides);
  static RecipeReader from_text(std::string_view toml, const std::string& origin,
                                const std::vector<std::string>& overrides);
  ~RecipeReader();
  RecipeReader(RecipeReader&&) noexcept;
  RecipeReader& operator=(RecipeReader&&) noexcept;

  /// Fills members whose keys are present. May be called for several structs of one section: keys
  /// known to any of them are known.
  template <typename Options>
  void read(const std::string& section, Options& options) {
    Visitor visitor{*this, section, ""};
    options.describe(visitor);
  }
  /// Value of a string key before its section is read, e.g. to choose a model by model.name.
  std::string peek(const std::string& section, const std::string& key,
                   const std::string& fallback) const;
  bool has(const std::string& section, const std::string& key) const;
  /// Names of the tables in a section: of [optimizer.NAME] NAME, for "optimizer". A section to be
  /// read may be called "optimizer.NAME".
  std::vector<std::string> tables(const std::string& section) const;
  /// What stands in this table is no further mistake: the caller has said what is wrong with it.
  void settle(const std::string& table);
  /// Adds a mistake the caller found, e.g. "train.micro_batch = 7 does not divide ...".
  void problem(std::string message);
  /// Throws if anything is wrong: unknown sections or keys, wrong types, problems.
  void finish() const;

  /// Everything read, defaults included, as TOML with a comment per key.
  std::string resolved_toml() const;
  /// Identity keys as "section.key" -> value text; what a resume compares, what the hash is over.
  std::map<std::string, std::string> identity() const;
  /// After the caller derived or corrected a value that was read (a preset, a default that depends
  /// on another key), makes resolved_toml() and identity() show it.
  template <typename Options>
  void update(const std::string& section, Options& options) {
    Updater updater{*this, section, ""};
    options.describe(updater);
  }

 private:
  using Value =
      std::variant<bool*, std::int64_t*, double*, std::string*, std::vector<std::int64_t>*,
                   std::vector<double>*, std::vector<std::string>*, std::optional<bool>*,
                   std::optional<std::int64_t>*, std::optional<double>*,
                   std::optional<std::string>*, std::optional<std::vector<double>>*>;
  /// `prefix`: of the keys, "views.0." within the first of [[data.views]].
  struct Visitor {
    RecipeReader& reader;
    const std::string& section;
    std::string prefix;
    template <typename T>
    void operator()(const char* key, T& member, const char* doc, KeyKind kind) {
      reader.read_key(section, prefix + key, &member, doc, kind);
    }
    template <OptionStruct Options>
    void operator()(const char* key, std::vector<Options>& tables, const char* doc, KeyKind kind) {
      tables.resize(reader.read_tables(section, prefix + key, tables.size(), doc, kind));
      for (std::size_t i = 0; i < tables.size(); ++i) {
        Visitor visitor{reader, section, prefix + key + "." + std::to_string(i) + "."};
        tables[i].describe(visitor);
      }
    }
  };
  struct Updater {
    RecipeReader& reader;
    const std::string& section;
    std::string prefix;
    template <typename T>
    void operator()(const char* key, T& member, const char*, KeyKind) {
      reader.update_key(section, prefix + key, &member);
    }
    template <OptionStruct Options>
    void operator()(const char* key, std::vector<Options>& tables, const char*, KeyKind) {
      for (std::size_t i = 0; i < tables.size(); ++i) {
        Updater updater{reader, section, prefix + key + "." + std::to_string(i) + "."};
        tables[i].describe(updater);
      }
    }
  };
  struct Impl;
  RecipeReader();
  void read_key(const std::string& section, const std::string& key, Value member, const char* doc,
                KeyKind kind);
  /// How many tables a list of them has in the recipe; `fallback` where it is not there.
  std::size_t read_tables(const std::string& section, const std::string& key, std::size_t fallback,
                          const char* doc, KeyKind kind);
  void update_key(const std::string& section, const std::string& key, Value member);
  std::unique_ptr<Impl> impl_;
};

/// Reads the engine's sections and checks what can be checked without data: exactly one length,
/// lr or base_lr, micro_batch dividing global_batch, known names.
Recipe read_engine_sections(RecipeReader& reader);

}  // namespace kiln
